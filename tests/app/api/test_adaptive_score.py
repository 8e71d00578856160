"""Samples that grow until each picture's interval is narrow enough, on a model whose posterior is too wide."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.api.openapi import TINY_PNG
from app.density.bounds import NORMAL_95
from app.images.png import encode_png
from app.settings import Settings
from tests.app.tiny_models import LinearGaussian, tiny_vae, write_version

WIDE = LinearGaussian(inflation=2.0)
PICTURES = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 1), np.uint8)
TEXTS = [base64.b64encode(encode_png(picture)).decode() for picture in PICTURES]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("wide")
    write_version(root, tiny_vae("wide", WIDE))
    write_version(root, tiny_vae("exact"))
    with TestClient(create_application(Settings(models_dir=root))) as found:
        yield found


def ask(client: TestClient, model: str = "wide", **wish: Any) -> dict[str, Any]:
    response = client.post(f"/v1/models/{model}/score", json={"images": TEXTS, "seed": 5} | wish)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_samples_double_until_the_interval_is_reached(client: TestClient) -> None:
    found = ask(client, samples=8, half_width_nats=0.15)
    exact = WIDE.log_density(PICTURES.reshape(4, 64) / 255.0)
    for score, density in zip(found["scores"], exact, strict=True):
        assert score["half_width_met"]
        assert score["half_width_nats"] == pytest.approx(NORMAL_95 * score["standard_error_nats"])
        assert score["half_width_nats"] <= 0.15
        assert score["samples"] in {8 * 2**power for power in range(8)}
        assert abs(score["importance_weighted_nats"] - density) < 2.5 * score["half_width_nats"]
    assert found["samples"] == max(score["samples"] for score in found["scores"])


def test_grown_samples_give_what_so_many_give_at_once(client: TestClient) -> None:
    grown = ask(client, samples=8, half_width_nats=0.15)["scores"]
    for index, score in enumerate(grown):
        at_once = ask(client, samples=score["samples"])["scores"][index]
        terms = {name: value for name, value in at_once.items() if isinstance(value, float)}
        assert len(terms) > 8
        assert {name: score[name] for name in terms} == pytest.approx(terms, rel=1e-9)


def test_half_as_many_would_not_have_been_enough(client: TestClient) -> None:
    for index, score in enumerate(ask(client, samples=8, half_width_nats=0.15)["scores"]):
        if score["samples"] > 8:
            before = ask(client, samples=score["samples"] // 2)["scores"][index]
            assert not before["reliable"] or NORMAL_95 * before["standard_error_nats"] > 0.15


def test_budget_ends_what_cannot_be_reached(client: TestClient) -> None:
    found = ask(client, samples=8, half_width_nats=1e-6, max_samples=20)
    assert [score["samples"] for score in found["scores"]] == [20] * 4
    assert not any(score["half_width_met"] for score in found["scores"])


def test_budget_is_by_default_what_the_limit_allows(client: TestClient) -> None:
    found = ask(client, half_width_nats=1e-6)
    assert [score["samples"] for score in found["scores"]] == [4096 // 4] * 4


def test_budget_alone_is_spent(client: TestClient) -> None:
    found = ask(client, max_samples=40)
    assert [(score["samples"], score["half_width_met"]) for score in found["scores"]] == [(40, None)] * 4
    (at_once, *_) = ask(client, samples=40)["scores"]
    assert found["scores"][0]["elbo_nats"] == pytest.approx(at_once["elbo_nats"], rel=1e-12)


def test_exact_posterior_needs_no_more_than_reliability(client: TestClient) -> None:
    found = ask(client, "exact", samples=1, half_width_nats=0.01)
    assert [score["samples"] for score in found["scores"]] == [16] * 4  # the first power of two with ten effective ones


def test_pixels_are_of_the_samples_that_were_used(client: TestClient) -> None:
    for score in ask(client, samples=8, half_width_nats=0.15, pixels=True)["scores"]:
        assert np.sum(score["pixel_nats"]) == pytest.approx(score["reconstruction_nats"], abs=1e-3)


@pytest.mark.parametrize(
    ("wish", "pointer", "limit"),
    [
        ({"half_width_nats": 0}, "/half_width_nats", None),
        ({"half_width_nats": -1}, "/half_width_nats", None),
        ({"half_width_nats": "0.1"}, "/half_width_nats", None),
        ({"half_width_nats": True}, "/half_width_nats", None),
        ({"half_width_nats": 1e9}, "/half_width_nats", None),
        ({"max_samples": 0}, "/max_samples", None),
        ({"max_samples": 1.5}, "/max_samples", None),
        ({"max_samples": 1025}, "/max_samples", 1024),
        ({"max_samples": 10**9, "half_width_nats": 1}, "/max_samples", 1024),
        ({"samples": 100, "max_samples": 50}, "/samples", 50),
        ({"samples": 2000, "half_width_nats": 1}, "/samples", 1024),
        ({"pixels": 1}, "/pixels", None),
        ({"pixels": "true"}, "/pixels", None),
        ({"pixel": True}, "/pixel", None),
    ],
)
def test_hostile_wish_is_refused_with_a_pointer(
    client: TestClient, wish: dict[str, Any], pointer: str, limit: int | None
) -> None:
    response = client.post("/v1/models/wide/score", json={"images": TEXTS} | wish)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert (error["pointer"], error.get("limit")) == (pointer, limit) or limit is None
    assert error["pointer"] == pointer


@pytest.mark.parametrize("query", ["half_width_nats=nan", "half_width_nats=inf", "half_width_nats=1e999", "pixels=2"])
def test_hostile_address_is_refused(client: TestClient, query: str) -> None:
    response = client.post(f"/v1/models/wide/score?{query}", json={"images": [TINY_PNG]})
    assert response.status_code == 422


@pytest.mark.parametrize(
    "body", ['"half_width_nats": NaN', '"half_width_nats": 1e999', '"half_width_nats": 1, "half_width_nats": 2']
)
def test_hostile_number_is_refused(client: TestClient, body: str) -> None:
    content = f'{{"images": ["{TINY_PNG}"], {body}}}'
    response = client.post("/v1/models/wide/score", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
