"""`score` and `realism` against the exact log p(x) of the linear-Gaussian model."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.api.application import create_application
from app.api.openapi import TINY_PNG
from app.settings import Settings
from tests.app.tiny_models import LinearGaussian, tiny_vae, without_graphs, write_version


def score(client: TestClient, query: str = "", *texts: str) -> list[dict[str, Any]]:
    response = client.post(f"/v1/models/tiny_vae/score{query}", json={"images": list(texts or (TINY_PNG,))})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["scores"]
    return found


def exact_nats(text: str) -> float:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return float(LinearGaussian().log_density(np.asarray(image).reshape(1, 64) / 255.0)[0])


def test_every_bound_is_exact_where_the_posterior_is(client: TestClient) -> None:
    (found,) = score(client, "?samples=32&seed=1")
    exact = exact_nats(TINY_PNG)
    assert found["elbo_nats"] == pytest.approx(exact, abs=1e-3)
    assert found["importance_weighted_nats"] == pytest.approx(exact, abs=1e-3)


def test_score_holds_its_identities(client: TestClient) -> None:
    (found,) = score(client, "?samples=16&seed=2")
    elbo = found["elbo_nats"]
    assert elbo == pytest.approx(found["reconstruction_nats"] - found["kl_nats"], abs=1e-6)
    assert elbo == pytest.approx(found["energy_nats"] + found["entropy_nats"], abs=1e-6)
    assert elbo == pytest.approx(found["importance_weighted_nats"] - found["inference_gap_nats"], abs=1e-6)


def test_score_places_the_picture_among_the_calibrated(client: TestClient) -> None:
    (found,) = score(client, "?seed=3")
    below = sum(value <= found["elbo_nats"] for value in range(-100, 100, 2))
    assert found["percentile"] == pytest.approx(below)
    p_value = pytest.approx((1 + below) / 101)
    assert found["outlier"]["p_value"] == found["outlier"]["q_value"] == p_value
    assert (found["outlier"]["statistic"], found["outlier"]["p_values"]) == ("elbo_nats", {"elbo_nats": p_value})
    assert found["outlier"]["outlier"] is (1 + below <= 10)


def test_score_is_null_where_undefined(client: TestClient) -> None:
    (found,) = score(client, "?samples=1")
    assert found["standard_error_nats"] is None
    assert found["bits_per_dim"] is None  # the likelihood is a density


def test_score_of_a_seed_repeats(client: TestClient) -> None:
    assert score(client, "?seed=9", TINY_PNG, TINY_PNG)[0] == score(client, "?seed=9")[0]


def test_samples_times_images_is_limited(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_vae/score?samples=2049", json={"images": [TINY_PNG, TINY_PNG]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["limit"] == 2048


def test_more_than_the_image_itself_needs_is_never_stated_unasked(client: TestClient) -> None:
    (found,) = score(client)
    assert not found.keys() & {"samples", "half_width_nats", "half_width_met", "pixel_nats"}


@pytest.mark.parametrize("accept", ["image/png", "application/x-npy"])
def test_only_pixels_travel_as_pictures(client: TestClient, accept: str) -> None:
    response = client.post("/v1/models/tiny_vae/score", json={"images": [TINY_PNG]}, headers={"Accept": accept})
    assert response.status_code == 406


def test_pixels_add_up_to_the_reconstruction_term(client: TestClient) -> None:
    for found in score(client, "?pixels=true&samples=50&seed=3", TINY_PNG, TINY_PNG):
        assert np.shape(found["pixel_nats"]) == (8, 8)
        assert np.sum(found["pixel_nats"]) == pytest.approx(found["reconstruction_nats"], abs=1e-3)


def test_pixels_travel_as_numbers_and_as_a_heat_map(client: TestClient) -> None:
    address = "/v1/models/tiny_vae/score?pixels=true&samples=50&seed=3"
    body = {"images": [TINY_PNG, TINY_PNG]}
    numbers = client.post(address, json=body, headers={"Accept": "application/x-npy"})
    found = np.load(io.BytesIO(numbers.content))
    in_json = client.post(address, json=body).json()["scores"]
    assert (found.dtype, found.shape) == (np.float32, (2, 8, 8))
    np.testing.assert_allclose(found, [one["pixel_nats"] for one in in_json], rtol=1e-6)
    heat = client.post(address, json=body, headers={"Accept": "image/png"})
    with Image.open(io.BytesIO(heat.content)) as image:
        levels = np.asarray(image).reshape(8, 2, 8).transpose(1, 0, 2)  # side by side
    low, high = (float(text) for text in heat.headers["x-range-nats"].split(","))
    np.testing.assert_allclose(high - levels / 255 * (high - low), found, atol=(high - low) / 500)
    assert heat.headers["x-seed"] == "3"


def test_pixels_need_their_graph(client: TestClient, tmp_path: Path) -> None:
    write_version(tmp_path, without_graphs(tiny_vae(), "latent_to_pixel_evidence"))
    with TestClient(create_application(Settings(models_dir=tmp_path))) as other:
        response = other.post("/v1/models/tiny_vae/score?pixels=true", json={"images": [TINY_PNG]})
        assert (response.status_code, response.json()["code"]) == (409, "capability-not-offered")
        assert "pixel_evidence" not in response.json()["capabilities"]
    assert "pixel_evidence" in client.get("/v1/models/tiny_vae").json()["capabilities"]


def test_realism_is_a_logit_a_picture(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_gan/realism", json={"images": [TINY_PNG, TINY_PNG]})
    first, second = response.json()["realism"]
    assert first == second
    assert np.isfinite(first["logit"])
