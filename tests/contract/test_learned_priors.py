"""A learned prior and a posterior without moments, from training to answers over HTTP."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import Tensor

from app.images.png import encode_png
from app.latent.noise import Stream, standard_normal
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_VAE, train
from training.export.trained import TrainedRun
from training.probability.prior import MixturePrior
from training.vae.model import VariationalAutoencoder

LATENT_SIZE = 3
MODEL = {
    "prior": {"kind": "mixture", "components": 5},
    "posterior": {"kind": "flow", "hidden": 8, "couplings": 2},
    "objective": {"kl": "sampled", "estimator": "doubly_reparameterised", "importance_weighted_share": 0.5},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a mixture prior and a flow posterior."""
    return train(tmp_path_factory.mktemp("priors"), TINY_VAE, model=MODEL)


@pytest.fixture(scope="module")
def trained(run: Path) -> VariationalAutoencoder:
    model = TrainedRun.load(run).model
    assert isinstance(model, VariationalAutoencoder)
    return model.requires_grad_(False)


def test_manifest_states_prior_selectors_and_graph(client: TestClient) -> None:
    manifest = client.get("/v1/models/tiny_vae").json()["manifest"]
    assert (manifest["latent"]["prior"], manifest["latent"]["selectors"]) == ("mixture", 1)
    noise = next(graph for graph in manifest["graphs"] if graph["role"] == "noise_to_latent")["inputs"][0]
    assert noise["shape"] == ["batch", 1 + LATENT_SIZE]


def test_sample_is_what_the_trained_prior_makes_of_the_noise(
    client: TestClient, trained: VariationalAutoencoder
) -> None:
    found = post(client, "tiny_vae/sample", {"seed": 5, "count": 4, "temperature": 0.7})["images"]
    noise = standard_normal(5, range(4), 1 + LATENT_SIZE)
    noise[:, 1:] *= np.float32(0.7)
    latents = trained.prior.from_noise(torch.from_numpy(noise))
    np.testing.assert_allclose([image["latent"] for image in found], latents, rtol=1e-4, atol=1e-4)


def test_truncation_narrows_components_and_leaves_the_choice_of_one(
    client: TestClient, trained: VariationalAutoencoder
) -> None:
    drawn = post(client, "tiny_vae/sample", {"seed": 1, "count": 50, "truncation": 1e-3})["images"]
    chooser = torch.from_numpy(standard_normal(1, range(50), 1))
    centres = trained.prior.from_noise(torch.cat([chooser, torch.zeros(50, LATENT_SIZE)], dim=1))
    assert len(np.unique(centres.numpy().round(4), axis=0)) == 5
    np.testing.assert_allclose([image["latent"] for image in drawn], centres, atol=0.01)


def test_sample_is_the_same_alone_and_in_company_and_as_a_point(client: TestClient) -> None:
    together = post(client, "tiny_vae/sample", {"seed": 9, "count": 40})["images"][31]
    alone = client.get("/v1/models/tiny_vae/sample.png", params={"seed": 9, "index": 31}).content
    assert alone == base64.b64decode(together["png"])
    image = post(client, "tiny_vae/arithmetic", {"terms": [{"weight": 1.0, "point": {"seed": 9, "index": 31}}]})[
        "images"
    ][0]
    assert image["latent"] == together["latent"]


def test_prior_density_and_cluster_are_those_of_the_checkpoint(
    client: TestClient, trained: VariationalAutoencoder
) -> None:
    frames = post(client, "tiny_vae/interpolate", {"points": [{"seed": 1}, {"seed": 2}], "steps": 4})["images"]
    latents = torch.tensor([frame["latent"] for frame in frames])
    found = [frame["log_prior_nats"] for frame in frames]
    np.testing.assert_allclose(found, trained.prior.log_density(latents), rtol=1e-4, atol=1e-4)
    (encoded,) = post(client, "tiny_vae/encode", {"images": [_picture()[0]]})["latents"]
    assert isinstance(trained.prior, MixturePrior)
    shares = torch.softmax(trained.prior.log_joint(torch.tensor([encoded["mean"]]))[0], dim=0)
    assert encoded["cluster"]["component"] == int(shares.argmax())
    assert encoded["cluster"]["probability"] == pytest.approx(float(shares.max()), rel=1e-4)


def test_receipt_makes_the_sample_again(client: TestClient) -> None:
    picture = base64.b64decode(post(client, "tiny_vae/sample", {"seed": 3, "truncation": 1.5})["images"][0]["png"])
    again = client.post("/v1/replay", content=picture, headers={"Content-Type": "image/png"})
    assert (again.status_code, again.content) == (200, picture)


def test_pixels_are_those_of_the_checkpoint_and_add_up(client: TestClient, trained: VariationalAutoencoder) -> None:
    picture, image = _picture()
    (score,) = post(client, "tiny_vae/score", {"images": [picture], "samples": 7, "seed": 2, "pixels": True})["scores"]
    noise = torch.from_numpy(standard_normal(2, [0], 7 * LATENT_SIZE, stream=Stream.IMPORTANCE)).reshape(1, 7, -1)
    latents = trained.posterior(image).draw(noise).latent[0]
    output = trained.decoder(latents)
    wanted = trained.likelihood.log_density_map(image, output).mean(dim=0)
    np.testing.assert_allclose(score["pixel_nats"], wanted, rtol=1e-3, atol=1e-3)
    assert np.sum(score["pixel_nats"]) == pytest.approx(score["reconstruction_nats"], abs=1e-3, rel=1e-6)


def test_score_is_that_of_the_checkpoint(client: TestClient, trained: VariationalAutoencoder) -> None:
    picture, image = _picture()
    body = {"images": [picture], "samples": 7, "seed": 2}
    score = post(client, "tiny_vae/score", body)["scores"][0]
    noise = torch.from_numpy(standard_normal(2, [0], 7 * LATENT_SIZE, stream=Stream.IMPORTANCE)).reshape(1, 7, -1)
    evidence = trained.evidence(image, noise)
    assert score["elbo_nats"] == pytest.approx(float(evidence.log_weights().mean()), rel=1e-6, abs=1e-3)
    kl = float((evidence.log_posterior - evidence.log_prior).mean())
    assert score["kl_nats"] == pytest.approx(kl, rel=1e-6, abs=1e-3)


def test_encoder_without_moments_answers_its_central_draw(client: TestClient, trained: VariationalAutoencoder) -> None:
    picture, image = _picture()
    latent = post(client, "tiny_vae/encode", {"images": [picture]})["latents"][0]
    np.testing.assert_allclose(latent["mean"], trained.posterior(image).central()[0], rtol=1e-4, atol=1e-4)
    assert latent["scale"] is None


def _picture() -> tuple[str, Tensor]:
    """Grey noise as base64 PNG, and as the model reads it."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    image = torch.from_numpy(grey[None, None, :, :, 0] / np.float32(255))
    return base64.b64encode(encode_png(grey)).decode(), image
