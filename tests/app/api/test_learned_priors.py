"""What follows from a prior's own graphs: densities on walks, walks through its noise, clusters, receipts."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy import special, stats

from app.api.application import create_application
from app.api.openapi import TINY_PNG
from app.images.receipts import read_receipt
from app.latent.noise import standard_normal
from app.settings import Settings
from tests.app.tiny_models import tiny_gan, tiny_vae, without_graphs, write_version
from tests.app.tiny_priors import SCALE, SHIFT, flow_log_density, mixture_joint, tiny_flow, tiny_mixture

ENDS = [{"latent": [4.0, -1.0]}, {"seed": 7, "index": 3}, {"image": TINY_PNG}]
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("priors")
    for model in (tiny_vae(), tiny_gan(), tiny_flow(), tiny_mixture()):
        write_version(root, model)
    write_version(root, without_graphs(tiny_flow("one_way"), "latent_to_noise"))
    return root


@pytest.fixture(scope="module")
def client(models_dir: Path) -> Iterator[TestClient]:
    with TestClient(create_application(Settings(models_dir=models_dir))) as found:
        yield found


def images(client: TestClient, address: str, body: Any) -> list[dict[str, Any]]:
    response = client.post(f"/v1/models/{address}", json=body)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["images"]
    return found


def latents_of(found: list[dict[str, Any]]) -> np.ndarray:
    return np.array([image["latent"] for image in found])


def log_prior(model: str, latents: np.ndarray) -> np.ndarray:
    match model:
        case "tiny_flow":
            return flow_log_density(latents)
        case "tiny_mixture":
            return np.asarray(special.logsumexp(mixture_joint(latents), axis=1))
        case _:
            return np.asarray(stats.norm.logpdf(latents).sum(axis=1))


@pytest.mark.parametrize("model", ["tiny_vae", "tiny_gan", "tiny_flow", "tiny_mixture"])
@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("interpolate", {"points": [{"seed": 7}, {"seed": 8}], "steps": 5}),
        ("traverse", {"point": {"seed": 7}, "dimensions": [1, 0], "steps": 3}),
        ("arithmetic", {"terms": [{"point": {"seed": 7}}, {"weight": -0.5, "point": {"seed": 8}}]}),
    ],
)
def test_every_latent_states_its_prior_density(
    client: TestClient, model: str, operation: str, body: dict[str, Any]
) -> None:
    found = images(client, f"{model}/{operation}", body)
    expected = log_prior(model, latents_of(found))
    np.testing.assert_allclose([image["log_prior_nats"] for image in found], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loop", [False, True])
def test_walk_through_the_prior_is_an_arc_of_its_noise(client: TestClient, loop: bool) -> None:
    body = {"points": ENDS, "steps": 5, "path": "prior", "loop": loop}
    response = client.post("/v1/models/tiny_flow/interpolate", json=body).json()
    assert response["path"] == "prior"
    noise = (latents_of(response["images"]) - SHIFT) / SCALE
    straight = images(client, "tiny_vae/interpolate", {"points": [{"latent": row} for row in noise[::4].tolist()],
                      "steps": 5, "path": "spherical", "loop": loop})  # fmt: skip
    np.testing.assert_allclose(noise, latents_of(straight), atol=1e-5)


def test_walk_through_the_prior_meets_its_points_exactly(client: TestClient) -> None:
    found = latents_of(images(client, "tiny_flow/interpolate", {"points": ENDS, "steps": 4, "path": "prior"}))
    (encoded,) = client.post("/v1/models/tiny_flow/encode", json={"images": [TINY_PNG]}).json()["latents"]
    drawn = images(client, "tiny_flow/sample", {"seed": 7, "count": 4})[3]["latent"]
    assert found[::3].tolist() == [[4.0, -1.0], drawn, encoded["mean"]]
    expected = SCALE * standard_normal(7, [3], 2)[0] + SHIFT
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_walk_through_a_normal_prior_is_the_spherical_one(client: TestClient) -> None:
    body = {"points": ENDS, "steps": 4}
    through, around = (
        client.post("/v1/models/tiny_vae/interpolate", json=body | {"path": path}) for path in ("prior", "spherical")
    )
    assert through.content == around.content


@pytest.mark.parametrize("model", ["tiny_mixture", "one_way"])
def test_walk_through_a_prior_without_a_way_back_is_refused(client: TestClient, model: str) -> None:
    body = {"points": ENDS, "steps": 4, "path": "prior"}
    response = client.post(f"/v1/models/{model}/interpolate", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/path"
    assert "no way from latents back to noise" in response.json()["detail"]


@pytest.mark.parametrize("path", ["priors", "", None, 1, ["prior"]])
def test_path_that_is_none_is_refused(client: TestClient, path: Any) -> None:
    response = client.post("/v1/models/tiny_flow/interpolate", json={"points": ENDS, "path": path})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/path")


def test_encode_assigns_the_component_of_a_mixture(client: TestClient) -> None:
    (found,) = client.post("/v1/models/tiny_mixture/encode", json={"images": [TINY_PNG]}).json()["latents"]
    shares = special.softmax(mixture_joint(np.array([found["mean"]]))[0])
    assert found["cluster"]["component"] == int(shares.argmax())
    assert found["cluster"]["probability"] == pytest.approx(shares.max(), rel=1e-5)


@pytest.mark.parametrize("model", ["tiny_vae", "tiny_flow"])
def test_encode_has_no_clusters_without_components(client: TestClient, model: str) -> None:
    (found,) = client.post(f"/v1/models/{model}/encode", json={"images": [TINY_PNG]}).json()["latents"]
    assert found.keys() == {"mean", "scale", "draws"}


def receipt_of(png: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_receipt(png) or "null")
    return found


@pytest.mark.parametrize("form", ["image", "sheet"])
def test_receipt_of_a_seed_pins_the_prior_s_graph(client: TestClient, form: str) -> None:
    count = 1 if form == "image" else 3
    png = client.get(f"/v1/models/tiny_flow/sample.png?seed=7&count={count}").content
    graphs = client.get("/v1/models/tiny_flow").json()["manifest"]["graphs"]
    expected = next(graph["sha256"] for graph in graphs if graph["role"] == "noise_to_latent")
    assert receipt_of(png)["noise_to_latent_sha256"] == expected
    assert client.post("/v1/replay", content=png, headers=PNG).content == png


def test_receipt_of_a_latent_depends_on_no_prior(client: TestClient) -> None:
    (found,) = images(client, "tiny_flow/decode", {"latents": [[1.0, 2.0]]})
    png = base64.b64decode(found["png"])
    assert "noise_to_latent_sha256" not in receipt_of(png)
    assert client.post("/v1/replay", content=png, headers=PNG).content == png


def test_receipt_without_the_pin_is_still_replayed(client: TestClient) -> None:
    png = client.get("/v1/models/tiny_flow/sample.png?seed=7").content
    receipt = receipt_of(png)
    del receipt["noise_to_latent_sha256"]
    assert client.post("/v1/replay", json=receipt).content == png


def test_receipt_of_a_prior_that_is_gone_is_told(client: TestClient) -> None:
    receipt = receipt_of(client.get("/v1/models/tiny_vae/sample.png?seed=7").content)
    response = client.post("/v1/replay", json=receipt | {"noise_to_latent_sha256": "0" * 64})
    assert response.status_code == 409
    assert [part["pointer"] for part in response.json()["errors"]] == ["/noise_to_latent_sha256"]


def test_replay_names_the_prior_alone_where_only_that_changed(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_flow())
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        png = client.get("/v1/models/tiny_flow/sample.png?seed=7").content
        shutil.rmtree(tmp_path / "tiny_flow" / "1")
        write_version(tmp_path, tiny_flow(scale=3.0))
        assert client.portal is not None
        client.portal.call(client.app.state.service.repository.refresh)  # type: ignore[attr-defined]
        response = client.post("/v1/replay", content=png, headers=PNG)
    assert response.status_code == 409
    assert [part["pointer"] for part in response.json()["errors"]] == ["/noise_to_latent_sha256"]


def test_prior_density_of_a_far_latent_is_finite(client: TestClient) -> None:
    far = {"terms": [{"point": {"latent": [1000.0, -1000.0]}}]}
    for model in ("tiny_vae", "tiny_flow", "tiny_mixture"):
        (found,) = images(client, f"{model}/arithmetic", far)
        assert math.isfinite(found["log_prior_nats"])
