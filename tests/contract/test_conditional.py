"""A conditional VAE, from training to answers over HTTP, against what PyTorch computes from its checkpoint."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, logsumexp
from starlette.testclient import TestClient
from torch import Tensor

from app.images.png import encode_png
from app.latent.noise import Stream, draw_labels, standard_normal
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_VAE, train
from training.data.datasets import DataSplits, load_splits
from training.export.trained import TrainedRun
from training.vae.model import VariationalAutoencoder

LATENT_SIZE = 3
MODEL = {"nets": "convolutional", "channels": [6, 8], "likelihood": "bernoulli", "conditional": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on binarised digits, ten epochs of which tell the digits apart."""
    folder = tmp_path_factory.mktemp("conditional")
    return train(folder, TINY_VAE, model=MODEL, data={"binarise": True}, optimiser={"epochs": 10})


@pytest.fixture(scope="module")
def digits(run: Path) -> DataSplits:
    return load_splits(TrainedRun.load(run).config.data)


@pytest.fixture(scope="module")
def trained(run: Path) -> VariationalAutoencoder:
    model = TrainedRun.load(run).model
    assert isinstance(model, VariationalAutoencoder)
    return model.requires_grad_(False)


def test_manifest_states_classes_and_how_often_each_was_seen(client: TestClient, digits: DataSplits) -> None:
    manifest = client.get("/v1/models/tiny_vae").json()["manifest"]
    assert manifest["classes"] == list(digits.classes or ())
    counts = np.bincount(digits.train.labels)  # type: ignore[arg-type]
    np.testing.assert_allclose(manifest["class_probabilities"], counts / counts.sum())
    for graph in manifest["graphs"]:
        assert graph["inputs"][-1] == {"name": "label", "dtype": "int64", "shape": ["batch"]}
    metrics = manifest["metrics"]
    assert metrics["classification_error"]["value"] < 0.9  # what guessing has
    own, any_label = (metrics[f"{name}negative_log_likelihood_nats"] for name in ("conditional_", ""))
    assert own["value"] < any_label["value"] + 3 * any_label["standard_error"]
    assert "p(x\\|y)" in client.get("/v1/models/tiny_vae").json()["card"]


def test_sample_is_the_decoder_s_picture_of_the_noise_and_the_drawn_label(
    client: TestClient, trained: VariationalAutoencoder
) -> None:
    images = post(client, "tiny_vae/sample", {"seed": 9, "count": 20})["images"]
    prior = client.get("/v1/models/tiny_vae").json()["manifest"]["class_probabilities"]
    labels = draw_labels(9, range(20), prior)
    assert [image["label"] for image in images] == labels.tolist()
    wanted = trained.decode(torch.from_numpy(standard_normal(9, range(20), LATENT_SIZE)), torch.from_numpy(labels))
    found = np.array([_pixels(image["png"]) for image in images], int)
    difference = np.abs(found - (wanted[:, 0].double() * 255).round().numpy())
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


def test_posterior_is_the_encoder_s_under_each_label(
    client: TestClient, trained: VariationalAutoencoder, digits: DataSplits
) -> None:
    pictures, image = _pictures(digits, 4)
    labels = [3, 0, 9, 3]
    posterior = trained.posterior(image, torch.tensor(labels))
    answer = post(client, "tiny_vae/encode", pictures | {"label": labels})["latents"]
    np.testing.assert_allclose([found["mean"] for found in answer], posterior.mean, atol=1e-5)  # type: ignore[attr-defined]
    np.testing.assert_allclose([found["scale"] for found in answer], posterior.scale, rtol=1e-5)  # type: ignore[attr-defined]


def test_score_and_classification_are_those_of_the_checkpoint(
    client: TestClient, trained: VariationalAutoencoder, digits: DataSplits
) -> None:
    pictures, image = _pictures(digits, 3)
    noise = torch.from_numpy(standard_normal(2, range(3), 5 * LATENT_SIZE, stream=Stream.IMPORTANCE)).unflatten(
        1, (5, 3)
    )
    under = [trained.evidence(image, noise, torch.full((3,), label)).log_weights().double() for label in range(10)]
    conditional = torch.stack([torch.logsumexp(weights, dim=1) - math.log(5) for weights in under], dim=1).numpy()
    prior = client.get("/v1/models/tiny_vae").json()["manifest"]["class_probabilities"]
    joint = conditional + np.log(prior)
    (score,) = post(client, "tiny_vae/score", {"images": pictures["images"][:1], "label": 7, "samples": 5, "seed": 2})[
        "scores"
    ]
    assert score["importance_weighted_nats"] == pytest.approx(conditional[0, 7], abs=1e-3, rel=1e-6)
    every = post(client, "tiny_vae/score", pictures | {"every_label": True, "samples": 5, "seed": 2})["scores"]
    for row, found in enumerate(every):
        np.testing.assert_allclose(found["joint"]["log_joint_nats"], joint[row], atol=1e-3, rtol=1e-6)
        assert found["joint"]["log_marginal_nats"] == pytest.approx(logsumexp(joint[row]), abs=1e-3)
    answer = post(client, "tiny_vae/classify", pictures | {"samples": 5, "seed": 2})["classifications"]
    probabilities = np.exp(log_softmax(joint, axis=1))
    np.testing.assert_allclose([found["probabilities"] for found in answer], probabilities, atol=1e-3)


def test_same_seed_and_label_are_the_same_bytes_at_any_count(client: TestClient) -> None:
    many = post(client, "tiny_vae/sample", {"seed": 3, "count": 64, "label": 4})["images"]
    for count in (1, 5):
        assert post(client, "tiny_vae/sample", {"seed": 3, "count": count, "label": 4})["images"] == many[:count]


def _pictures(digits: DataSplits, count: int) -> tuple[dict[str, Any], Tensor]:
    """Test digits as a request, and as the model reads them: white from the middle grey up."""
    pictures = digits.test.pictures[:count]
    image = torch.from_numpy((pictures > 127).astype(np.float32)).permute(0, 3, 1, 2)
    return {"images": [base64.b64encode(encode_png(picture)).decode() for picture in pictures]}, image


def _pixels(text: str) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image)
