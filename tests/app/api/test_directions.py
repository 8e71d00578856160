"""Named directions over HTTP: listed, added, traversed, and refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings
from tests.app.tiny_directions import ACROSS, DOWN, NAMED, write_tiny_directions
from tests.app.tiny_models import write_tiny_models


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_tiny_models(root)
    write_tiny_directions(root)
    with TestClient(create_application(Settings(models_dir=root))) as found:
        yield found


def post(client: TestClient, path: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    response = client.post(f"/v1/models/{path}", json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def test_description_lists_directions_with_effect_and_leakage(client: TestClient) -> None:
    described = client.get("/v1/models/tiny_directed").json()
    assert described["directions"] == [direction.model_dump(mode="json") for direction in NAMED.directions]
    assert described["directions"][0]["effect"] == 1.5
    assert described["directions"][0]["leaks_into"] == "gender=man"


def test_model_without_directions_lists_none(client: TestClient) -> None:
    assert client.get("/v1/models/tiny_vae").json()["directions"] == []


def test_direction_is_added_as_often_as_it_weighs(client: TestClient) -> None:
    terms = [
        {"point": {"latent": [1, 2]}},
        {"weight": 2, "point": {"direction": "across"}},
        {"weight": -1, "point": {"direction": "down"}},
    ]
    (image,) = post(client, "tiny_directed/arithmetic", {"terms": terms})["images"]
    np.testing.assert_allclose(image["latent"], np.array([1, 2]) + 2 * ACROSS - DOWN)
    added = client.post("/v1/models/tiny_directed/arithmetic?format=npy", json={"terms": terms})
    decoded = client.post("/v1/models/tiny_directed/decode?format=npy", json={"latents": [image["latent"]]})
    assert added.content == decoded.content


def test_traversal_sweeps_steps_from_the_place(client: TestClient) -> None:
    wish = {"point": {"latent": [1, 2]}, "dimensions": [{"direction": "down"}, 0], "extent": 1.5, "steps": 3}
    images = post(client, "tiny_directed/traverse", wish)["images"]
    steps = np.array([-1.5, 0, 1.5])
    np.testing.assert_allclose([image["latent"] for image in images[:3]], np.array([1, 2]) + np.outer(steps, DOWN))
    np.testing.assert_allclose([image["latent"] for image in images[3:]], [[step, 2] for step in steps])
    assert [image["value"] for image in images] == [*steps, *steps]
    assert [(image["dimension"], image["direction"]) for image in images] == [(None, "down")] * 3 + [(0, None)] * 3


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("arithmetic", {"terms": [{"point": {"direction": "up"}}]}, "/terms/0/point/direction"),
        ("traverse", {"point": {"seed": 1}, "dimensions": [0, {"direction": "up"}]}, "/dimensions/1/direction"),
    ],
)
def test_unknown_direction_is_refused_with_those_that_exist(
    client: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    problem = post(client, f"tiny_directed/{path}", body, status=422)
    assert problem["errors"][0]["pointer"] == pointer
    assert "up" in problem["detail"]
    assert "across, down" in problem["detail"]
    without = post(client, f"tiny_vae/{path}", body, status=422)
    assert "published without directions" in without["detail"]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("interpolate", {"points": [{"seed": 1}, {"direction": "down"}]}, "/points/1"),
        ("arithmetic", {"terms": [{"point": {"mean": [{"direction": "down"}]}}]}, "/terms/0/point/mean/0"),
        ("traverse", {"point": {"direction": "down"}, "dimensions": [0]}, "/point"),
        ("traverse", {"point": {"seed": 1}, "dimensions": [True]}, "/dimensions/0"),
        ("traverse", {"point": {"seed": 1}, "dimensions": [{"direction": 7}]}, "/dimensions/0/direction"),
        ("arithmetic", {"terms": [{"point": {"direction": "down", "seed": 1}}]}, "/terms/0/point/direction"),
        ("arithmetic", {"terms": [{"point": {"direction": "d" * 65}}]}, "/terms/0/point/direction"),
    ],
)
def test_displacement_is_no_place(client: TestClient, path: str, body: dict[str, Any], pointer: str) -> None:
    problem = post(client, f"tiny_directed/{path}", body, status=422)
    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("interpolate", {"points": [{"seed": 1}, {"direction": "down"}]}, "/points/1"),
        ("interpolate", {"points": [{"seed": 1}, {"mean": [{"direction": "down"}]}]}, "/points/1/mean/0"),
        ("arithmetic", {"terms": [{"point": {"mean": [{"direction": "down"}]}}]}, "/terms/0/point/mean/0"),
        ("traverse", {"point": {"direction": "down"}, "dimensions": [0]}, "/point"),
    ],
)
def test_direction_in_place_of_a_point_is_told_where_it_may_stand(
    client: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    problem = post(client, f"tiny_directed/{path}", body, status=422)
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert error["detail"] == (
        "A direction is a displacement and no Point: it is for terms of arithmetic and dimensions of traverse"
    )
    assert problem["detail"] == f"{pointer}: {error['detail']}"


def test_what_is_neither_is_still_told_what_a_point_is(client: TestClient) -> None:
    problem = post(client, "tiny_directed/interpolate", {"points": [{"seed": 1}, {"place": "down"}]}, status=422)
    assert problem["errors"] == [
        {"pointer": "/points/1", "detail": "A Point is an object with exactly one of latent, seed, image, mean"}
    ]


def test_damaged_directions_keep_a_version_from_being_served(tmp_path: Path) -> None:
    write_tiny_models(tmp_path)
    folder = write_tiny_directions(tmp_path)
    (folder / "directions.json").write_text(NAMED.model_copy(update={"protocol": "another"}).model_dump_json())
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        listed = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert listed["tiny_directed"]["status"] == "failed"
    assert "sha256" in listed["tiny_directed"]["reason"]
    assert listed["tiny_vae"]["status"] == "ready"
