"""Samples that the calibrated discriminator chooses, and what its logits are worth."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.latent.refinement import further_noise, metropolis_hastings
from app.manifest import RealismCalibration
from app.settings import Settings
from tests.app.tiny_models import tiny_gan, write_tiny_models, write_version

CALIBRATION = RealismCalibration(slope=3.0, intercept=-0.5, images=100, split="validation")
MODEL = "/v1/models/tiny_judged"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_tiny_models(root)
    judged = tiny_gan("tiny_judged")
    write_version(root, replace(judged, fields=judged.fields | {"realism": CALIBRATION}))
    with TestClient(create_application(Settings(models_dir=root, max_sample_images=64))) as found:
        yield found


def post(client: TestClient, operation: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"{MODEL}/{operation}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_refined_samples_are_the_ends_of_their_chains(client: TestClient) -> None:
    """Every proposal decoded and judged over HTTP, the chain led here."""
    found = post(client, "sample", count=3, seed=9, refine=6)
    first = [image["latent"] for image in post(client, "sample", count=3, seed=9)["images"]]
    further, log_uniforms = further_noise(9, range(3), 5, 4)
    latents = np.concatenate([np.array(first, np.float32)[:, None], further], axis=1)
    pictures = post(client, "decode", latents=latents.reshape(-1, 4).tolist())["images"]
    logits = [judged["logit"] for judged in post(client, "realism", images=[p["png"] for p in pictures])["realism"]]
    chosen = metropolis_hastings(3.0 * np.array(logits).reshape(3, 6) - 0.5, log_uniforms)
    np.testing.assert_allclose([i["latent"] for i in found["images"]], latents[np.arange(3), chosen.places], atol=1e-6)
    assert [image["acceptance"] for image in found["images"]] == chosen.acceptance.tolist()
    said = {"method": "metropolis_hastings", "proposals": 6, "acceptance": pytest.approx(chosen.acceptance.mean())}
    assert found["refined"] == said
    assert (chosen.places > 0).any()


def test_image_follows_from_seed_and_index(client: TestClient) -> None:
    many = post(client, "sample", count=4, seed=2, refine=8)["images"]
    assert post(client, "sample", count=1, seed=2, refine=8)["images"] == many[:1]
    alone = client.get(f"{MODEL}/sample.png?seed=2&index=3&refine=8")
    assert base64.b64decode(many[3]["png"]) == alone.content


@pytest.mark.parametrize("wanted", ["json", "png", "webp", "npy", "raw"])
def test_every_format_states_the_acceptance_rate_of_the_json(client: TestClient, wanted: str) -> None:
    wish = {"count": 3, "seed": 9, "refine": 6}
    told = post(client, "sample", **wish)["refined"]["acceptance"]
    assert 0 < told < 1
    response = client.post(f"{MODEL}/sample?format={wanted}", json=wish)
    assert float(response.headers["x-acceptance"]) == told
    assert "x-acceptance" not in client.post(f"{MODEL}/sample?format={wanted}", json={"seed": 9}).headers


def test_address_states_the_acceptance_rate_and_is_cached_as_before(client: TestClient) -> None:
    told = post(client, "sample", count=3, seed=9, refine=6)["refined"]["acceptance"]
    address = f"{MODEL}@1/sample.png?seed=9&count=3&refine=6"
    first = client.get(address)
    assert float(first.headers["x-acceptance"]) == told
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    kept = ("etag", "cache-control", "x-acceptance", "x-seed")
    assert [again.headers[name] for name in kept] == [first.headers[name] for name in kept]
    assert "x-acceptance" not in client.get(f"{MODEL}@1/sample.png?seed=9").headers


def test_receipt_makes_a_refined_image_again(client: TestClient) -> None:
    png = client.get(f"{MODEL}/sample.png?seed=2&refine=8").content
    again = client.post("/v1/replay", content=png, headers={"Content-Type": "image/png"})
    assert again.content == png


def test_refined_samples_look_more_real(client: TestClient) -> None:
    def mean_logit(**wish: Any) -> float:
        pictures = [image["png"] for image in post(client, "sample", count=32, seed=4, **wish)["images"]]
        return float(np.mean([j["logit"] for j in post(client, "realism", images=pictures)["realism"]]))

    assert mean_logit(refine=2) > mean_logit()


def test_logit_is_worth_a_probability(client: TestClient) -> None:
    picture = post(client, "sample", seed=1)["images"][0]["png"]
    (judged,) = post(client, "realism", images=[picture])["realism"]
    expected = 1 / (1 + math.exp(-(3.0 * judged["logit"] - 0.5)))
    assert judged["probability"] == pytest.approx(expected)
    uncalibrated = client.post("/v1/models/tiny_gan/realism", json={"images": [picture]}).json()["realism"]
    assert uncalibrated == [{"logit": judged["logit"]}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"refine": 1}, 422),
        ({"refine": 8, "temperature": 0.7}, 422),
        ({"refine": 8, "truncation": 2.0}, 422),
        ({"refine": 33, "count": 2}, 422),
    ],
)
def test_what_cannot_be_refined_is_refused(client: TestClient, body: dict[str, Any], status: int) -> None:
    response = client.post(f"{MODEL}/sample", json=body)
    assert response.status_code == status
    assert response.json()["errors"][0]["pointer"] == "/refine"


def test_uncalibrated_discriminator_refines_nothing(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_gan/sample", json={"refine": 8})
    assert (response.status_code, response.json()["code"]) == (409, "capability-not-offered")
    assert "refine" in client.get(MODEL).json()["capabilities"]
