"""Conditional GANs over HTTP, against what PyTorch computes from their checkpoints."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.pixels import to_bytes, to_floats
from app.images.png import encode_png
from app.latent.noise import draw_labels, standard_normal
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_GAN, publish, train
from training.data.datasets import DataSplits, load_splits
from training.export.trained import TrainedRun
from training.gan.model import GenerativeAdversarialNetwork
from training.loops.gan_training import PIXELS

KINDS = ("projection", "auxiliary", "discovered", "semi_supervised")
CONDITIONAL = KINDS[:3]
FEW = {"data": {"labelled_images": 50}, "model": {"condition": "semi_supervised", "spectral_norm": False}}


@dataclass(frozen=True)
class Served:
    """A service with a GAN of each kind, and the models behind them."""

    client: TestClient
    models: dict[str, GenerativeAdversarialNetwork]
    digits: DataSplits

    def post(self, kind: str, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        return post(self.client, f"{kind}/{operation}", body)

    def pictures(self, count: int) -> dict[str, Any]:
        """Test digits as a request."""
        pictures = self.digits.test.pictures[:count]
        return {"images": [base64.b64encode(encode_png(picture)).decode() for picture in pictures]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("conditional_gans")
    changes: dict[str, dict[str, Any]] = {kind: {"model": {"condition": kind}} for kind in CONDITIONAL}
    changes["discovered"]["model"] |= {"discovered_classes": 4, "codes": 2}
    changes["semi_supervised"] = FEW
    runs = {kind: train(folder, TINY_GAN | {"name": kind}, **changes[kind]) for kind in KINDS}
    trained = {kind: TrainedRun.load(run) for kind, run in runs.items()}
    models = {kind: run.model for kind, run in trained.items() if isinstance(run.model, GenerativeAdversarialNetwork)}
    for run in runs.values():
        publish(run, folder / "models")
    with torch.no_grad(), TestClient(create_application(Settings(models_dir=folder / "models"))) as client:
        yield Served(client, models, load_splits(trained["auxiliary"].config.data))


def test_capabilities_follow_from_the_graphs(served: Served) -> None:
    manifests = {kind: served.client.get(f"/v1/models/{kind}").json()["manifest"] for kind in KINDS}
    told = {
        kind: {graph["role"] for graph in manifest["graphs"] if graph["inputs"][-1]["name"] == "label"}
        for kind, manifest in manifests.items()
    }
    assert told == {
        "projection": {"latent_to_image", "latent_gradient", "image_to_realism"},
        "auxiliary": {"latent_to_image", "latent_gradient"},
        "discovered": {"latent_to_image", "latent_gradient"},
        "semi_supervised": set(),
    }
    assert "classifier_error" in manifests["auxiliary"]["metrics"]
    assert "classifier_error" not in manifests["projection"]["metrics"]
    for kind in ("projection", "auxiliary", "semi_supervised"):
        assert manifests[kind]["classes"] == list(served.digits.classes or ())
    discovered = manifests["discovered"]
    assert discovered["classes"] == ["code 0", "code 1", "code 2", "code 3"]
    assert discovered["class_probabilities"] == [0.25] * 4
    assert discovered["metrics"]["discovery_error"]["value"] < 0.9  # what one class for all would have
    assert "50 labels told" in manifests["semi_supervised"]["metrics"]["classifier_error"]["protocol"]
    answer = served.client.post("/v1/models/projection/classify", json=served.pictures(1))
    assert answer.status_code == 409


@pytest.mark.parametrize("kind", CONDITIONAL)
def test_sample_is_the_generator_s_picture_of_noise_and_class(served: Served, kind: str) -> None:
    prior = served.client.get(f"/v1/models/{kind}").json()["manifest"]["class_probabilities"]
    images = served.post(kind, "sample", {"seed": 4, "count": 12})["images"]
    labels = draw_labels(4, range(12), prior)
    assert [image["label"] for image in images] == labels.tolist()
    noise = torch.from_numpy(standard_normal(4, range(12), 6))
    wanted = to_bytes(served.models[kind].generator(noise, torch.from_numpy(labels)).numpy(), PIXELS)
    asked = served.post(kind, "sample", {"seed": 4, "count": 12, "label": labels.tolist()})["images"]
    assert [image["png"] for image in asked] == [image["png"] for image in images]
    found = np.array([_grey(image["png"]) for image in images])
    assert np.abs(found - wanted[..., 0].astype(int)).max() <= 1


def test_realism_is_the_discriminator_s_logit_under_the_given_class(served: Served) -> None:
    image = torch.from_numpy(to_floats(served.digits.test.pictures[:5], PIXELS))
    labels = [3, 1, 4, 1, 5]
    answer = served.post("projection", "realism", served.pictures(5) | {"label": labels})["realism"]
    wanted = served.models["projection"].discriminator(image, torch.tensor(labels))
    np.testing.assert_allclose([judgement["logit"] for judgement in answer], wanted, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_classes_are_the_discriminator_s(served: Served, kind: str) -> None:
    image = torch.from_numpy(to_floats(served.digits.test.pictures[:5], PIXELS))
    answer = served.post(kind, "classify", served.pictures(5))["classifications"]
    class_logits = served.models[kind].discriminator.verdict(image).class_logits
    assert class_logits is not None
    wanted = softmax(class_logits.numpy().astype(np.float64), axis=1)
    np.testing.assert_allclose([found["probabilities"] for found in answer], wanted, atol=1e-4)


def _grey(text: str) -> np.ndarray[Any, Any]:
    """A PNG's pixels."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image, int)
