"""`arithmetic` and Points against sums done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.openapi import TINY_PNG


def add(client: TestClient, *terms: tuple[float, Any], renormalize: str = "none") -> dict[str, Any]:
    body = {"terms": [{"weight": w, "point": p} for w, p in terms], "renormalize": renormalize}
    response = client.post("/v1/models/tiny_vae/arithmetic", json=body)
    assert response.status_code == 200, response.text
    (image,) = response.json()["images"]
    found: dict[str, Any] = image
    return found


def test_arithmetic_is_the_weighted_sum(client: TestClient) -> None:
    image = add(client, (1, {"latent": [1, 2]}), (-0.5, {"latent": [2, 0]}), (2, {"latent": [0.5, 0.25]}))
    assert image["latent"] == [1.0, 2.5]


def test_arithmetic_states_the_prior_density(client: TestClient) -> None:
    image = add(client, (1, {"latent": [1, 2]}))
    assert image["log_prior_nats"] == pytest.approx(-2.5 - math.log(2 * math.pi), rel=1e-6)


def test_arithmetic_rescales_to_the_typical_length(client: TestClient) -> None:
    image = add(client, (1, {"latent": [3, 4]}), renormalize="typical")
    assert np.linalg.norm(image["latent"]) == pytest.approx(2**0.5, rel=1e-6)


def test_mean_point_averages_whatever_it_holds(client: TestClient) -> None:
    seeded = client.post("/v1/models/tiny_vae/sample", json={"seed": 7, "count": 3}).json()["images"][2]["latent"]
    nested = {"mean": [{"latent": [4, 0]}, {"mean": [{"seed": 7, "index": 2}, {"latent": [0, 0]}]}]}
    np.testing.assert_allclose(
        add(client, (1, nested))["latent"], (np.array([4, 0]) + np.array(seeded) / 2) / 2, rtol=1e-6
    )


def test_image_point_is_where_the_encoder_puts_it(client: TestClient) -> None:
    (encoded,) = client.post("/v1/models/tiny_vae/encode", json={"images": [TINY_PNG]}).json()["latents"]
    assert add(client, (1, {"image": TINY_PNG}))["latent"] == encoded["mean"]


def test_image_point_needs_an_encoder(client: TestClient) -> None:
    body = {"terms": [{"point": {"image": TINY_PNG}}]}
    response = client.post("/v1/models/tiny_gan/arithmetic", json=body)
    assert response.status_code == 409
    assert "sample" in response.json()["capabilities"]


@pytest.mark.parametrize(
    ("point", "pointer"),
    [
        ({"latent": [1]}, "/terms/0/point/latent"),
        ({"latent": [1, "2"]}, "/terms/0/point/latent/1"),
        ({"mean": [{"latent": [1, 2]}, {"latent": [1, 2, 3]}]}, "/terms/0/point/mean/1/latent"),
        ({"latent": [1, 2], "seed": 3}, "/terms/0/point/seed"),
        ({"image": "!"}, "/terms/0/point/image"),
        ({"place": 1}, "/terms/0/point"),
        ({"seed": True}, "/terms/0/point/seed"),
    ],
)
def test_wrong_point_is_refused_with_a_pointer_to_it(client: TestClient, point: Any, pointer: str) -> None:
    response = client.post("/v1/models/tiny_vae/arithmetic", json={"terms": [{"point": point}]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


def test_sum_beyond_the_cap_is_refused(client: TestClient) -> None:
    body = {"terms": [{"weight": 2, "point": {"latent": [900, 0]}}]}
    assert client.post("/v1/models/tiny_vae/arithmetic", json=body).status_code == 422
