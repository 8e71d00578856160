"""A GAN of two domains over HTTP: the label chooses the domain, the latent the picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.pixels import to_bytes, to_floats
from app.images.png import encode_png
from app.latent.noise import standard_normal
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_GAN, publish, train
from training.data.datasets import DataSplits, load_splits
from training.evaluation.coupling import own_nearer
from training.export.trained import TrainedRun
from training.gan.model import GenerativeAdversarialNetwork
from training.loops.gan_training import PIXELS

MODEL = "/v1/models/cogan"


@dataclass(frozen=True)
class Served:
    """A service with a coupled GAN of digits and their inverse, and the model behind it."""

    client: TestClient
    folder: Path
    model: GenerativeAdversarialNetwork
    data: DataSplits

    def post(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        return post(self.client, f"cogan/{operation}", body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("coupled_gan")
    run = train(
        folder,
        TINY_GAN | {"name": "cogan"},
        data={"second_domain": "inverted"},
        model={"condition": "coupled", "generator_channels": 16, "discriminator_channels": 16},
        optimiser={"epochs": 25, "betas": [0.5, 0.9]},
    )
    publish(run, folder / "models")
    trained = TrainedRun.load(run)
    assert isinstance(trained.model, GenerativeAdversarialNetwork)
    with torch.no_grad(), TestClient(create_application(Settings(models_dir=folder / "models"))) as client:
        yield Served(client, folder, trained.model, load_splits(trained.config.data))


def test_domains_are_the_classes(served: Served) -> None:
    found = served.client.get(MODEL).json()
    assert found["classes"] == ["original", "inverted"]
    assert found["manifest"]["class_probabilities"] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert {"sample", "encode", "realism"} <= set(found["capabilities"])
    assert "smallest_class" in found["metrics"]  # by a judge of digits
    assert "label_agreement" not in found["metrics"]  # which knows no domains


def test_label_chooses_the_domain_of_a_latent(served: Served) -> None:
    noise = torch.from_numpy(standard_normal(4, range(6), 6))
    for domain, name in enumerate(("original", "inverted")):
        images = served.post("sample", {"seed": 4, "count": 6, "label": name})["images"]
        np.testing.assert_allclose([image["latent"] for image in images], noise, atol=1e-6)
        wanted = to_bytes(served.model.generator(noise, torch.full((6,), domain)).numpy(), PIXELS)
        assert np.abs(_pictures(images).astype(int) - wanted).max() <= 1


def test_realism_is_of_a_picture_in_its_domain(served: Served) -> None:
    pictures, labels = served.data.test.pictures[:6], served.data.test.labels
    assert labels is not None
    texts = [base64.b64encode(encode_png(picture)).decode() for picture in pictures]
    answer = served.post("realism", {"images": texts, "label": labels[:6].tolist()})["realism"]
    wanted = served.model.discriminator(torch.from_numpy(to_floats(pictures, PIXELS)), torch.from_numpy(labels[:6]))
    np.testing.assert_allclose([judgement["logit"] for judgement in answer], wanted, atol=1e-4)


def test_domains_learned_without_pairs_agree(served: Served) -> None:
    asked = {"seed": 9, "count": 200}
    first, second = (_pictures(served.post("sample", asked | {"label": domain})["images"]) for domain in (0, 1))
    assert first.mean() < 100  # digits are dark, their inverses bright
    assert second.mean() > 155
    assert own_nearer(first, second, "inverted").mean() > 0.8
    assert served.client.get(MODEL).json()["metrics"]["coupling"]["value"] > 0.8


def _pictures(images: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"])))) for image in images]
    return np.array(found)[..., None]
