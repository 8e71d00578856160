"""A ladder of latents, from training to answers over HTTP."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from app.images.png import encode_png
from app.latent.noise import Stream, standard_normal
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_VAE, train
from training.export.trained import TrainedRun
from training.vae.hierarchical import HierarchicalVae

LAYERS = (8, 16)
MODEL = {
    "nets": "ladder",
    "channels": [4, 6],
    "latent_size": sum(LAYERS),
    "ladder": {"layers": [1, 1], "latent_channels": [1, 2]},
    "prior": {"kind": "flow", "couplings": 2, "hidden": 8},
    "objective": {"kl": "sampled", "free_bits": 0.2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a ladder."""
    return train(tmp_path_factory.mktemp("ladder"), TINY_VAE, model=MODEL)


@pytest.fixture(scope="module")
def trained(run: Path) -> HierarchicalVae:
    model = TrainedRun.load(run).model
    assert isinstance(model, HierarchicalVae)
    return model.requires_grad_(requires_grad=False)


def test_manifest_states_prior_and_layers(client: TestClient) -> None:
    latent = client.get("/v1/models/tiny_vae").json()["manifest"]["latent"]
    assert (latent["size"], latent["prior"], latent["layers"]) == (24, "hierarchical", [8, 16])


def test_sample_is_what_the_trained_ladder_makes_of_the_noise(client: TestClient, trained: HierarchicalVae) -> None:
    found = post(client, "tiny_vae/sample", {"seed": 5, "count": 4, "temperature": 0.7})["images"]
    noise = torch.from_numpy(standard_normal(5, range(4), 24) * np.float32(0.7))
    wanted = trained.prior.from_noise(noise)
    np.testing.assert_allclose([image["latent"] for image in found], wanted, rtol=1e-4, atol=1e-4)
    for image, picture in zip(found, trained.decode(wanted)[:, 0].mul(255).round().numpy(), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"]))))
        np.testing.assert_allclose(shown, picture, atol=1)


def test_score_is_that_of_the_checkpoint(client: TestClient, trained: HierarchicalVae) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    body = {"images": [base64.b64encode(encode_png(grey)).decode()], "samples": 7, "seed": 2}
    score = post(client, "tiny_vae/score", body)["scores"][0]
    noise = torch.from_numpy(standard_normal(2, [0], 7 * 24, stream=Stream.IMPORTANCE)).reshape(1, 7, -1)
    evidence = trained.evidence(torch.from_numpy(grey[None, None, :, :, 0] / np.float32(255)), noise)
    assert score["elbo_nats"] == pytest.approx(float(evidence.log_weights().mean()), rel=1e-6, abs=1e-3)


def test_encoder_answers_its_central_draw(client: TestClient, trained: HierarchicalVae) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (8, 8, 1), np.uint8)
    latent = post(client, "tiny_vae/encode", {"images": [base64.b64encode(encode_png(grey)).decode()]})["latents"][0]
    image = torch.from_numpy(grey[None, None, :, :, 0] / np.float32(255))
    np.testing.assert_allclose(latent["mean"], trained.posterior(image).central()[0], rtol=1e-4, atol=1e-4)
    assert latent["scale"] is None
