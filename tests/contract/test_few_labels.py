"""M1+M2, from training on few labels to answers over HTTP, against what PyTorch computes from its checkpoint."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from app.images.pixels import to_bytes
from app.images.png import encode_png
from app.latent.noise import standard_normal
from app.manifest import PixelRange
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_VAE, train
from training.data.datasets import load_splits
from training.export.trained import TrainedRun
from training.vae.few_labels import FewLabelsModel

MODEL: dict[str, Any] = {
    "prior": {"kind": "mixture", "components": 2},
    "objective": {"kl": "sampled"},
    "few_labels": {"kind": "m1_m2", "classifier_channels": [8], "shift_pixels": 0.5},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that was told 40 labels."""
    return train(tmp_path_factory.mktemp("few"), TINY_VAE, model=MODEL, data={"labelled_images": 40})


@pytest.fixture(scope="module")
def model(run: Path) -> FewLabelsModel:
    trained = TrainedRun.load(run).model
    assert isinstance(trained, FewLabelsModel)
    return trained.requires_grad_(False)


def test_card_counts_errors_of_the_classifier_and_knows_only_the_told_classes(client: TestClient) -> None:
    manifest = client.get("/v1/models/tiny_vae").json()["manifest"]
    assert manifest["class_probabilities"] == pytest.approx([0.1] * 10)  # of the forty, not of all that were hidden
    protocol = manifest["metrics"]["classifier_error"]["protocol"]
    assert "all 270 test images of digits" in protocol
    assert "40 labels told" in protocol


def test_classification_is_the_classifier_s(client: TestClient, run: Path, model: FewLabelsModel) -> None:
    pictures = load_splits(TrainedRun.load(run).config.data).test.pictures[:5]
    body = {"images": [base64.b64encode(encode_png(picture)).decode() for picture in pictures]}
    found = post(client, "tiny_vae/classify", body)["classifications"]
    image = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    expected = torch.softmax(model(image), dim=1).numpy()
    np.testing.assert_allclose([answer["probabilities"] for answer in found], expected, atol=1e-3)
    assert [answer["label"] for answer in found] == expected.argmax(axis=1).tolist()


def test_sample_of_a_class_is_drawn_from_its_mixture(client: TestClient, model: FewLabelsModel) -> None:
    answer = post(client, "tiny_vae/sample", {"seed": 5, "count": 4, "label": [7, 0, 7, 2]})["images"]
    noise = torch.from_numpy(standard_normal(5, range(4), model.vae.prior.noise_size))
    expected = model.vae.sample(noise, torch.tensor([7, 0, 7, 2])).numpy()
    for image, wanted in zip(answer, to_bytes(expected, PixelRange(low=0, high=1)), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"]))), np.int64)
        assert np.abs(picture - wanted[..., 0]).max() <= 1


def test_codes_need_no_label_and_scores_do(client: TestClient) -> None:
    picture = base64.b64encode(encode_png(np.full((8, 8, 1), 90, np.uint8))).decode()
    (latent,) = post(client, "tiny_vae/encode", {"images": [picture]})["latents"]
    assert len(latent["mean"]) == 3
    assert post(client, "tiny_vae/decode", {"latents": [latent["mean"]]})["images"]
    (score,) = post(client, "tiny_vae/score", {"images": [picture], "label": 3, "samples": 4, "seed": 1})["scores"]
    assert np.isfinite(score["elbo_nats"])
    assert client.post("/v1/models/tiny_vae/score", json={"images": [picture]}).status_code == 422
