"""GANs that learned an encoder, over HTTP, against what PyTorch computes from their checkpoints."""

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
from app.latent.noise import Stream, standard_normal
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_GAN, publish, train
from training.__main__ import main
from training.data.datasets import DataSplits, load_splits
from training.export.trained import TrainedRun
from training.gan.joint_encoder import JointEncoder
from training.gan.model import GenerativeAdversarialNetwork
from training.loops.gan_training import PIXELS

KINDS = {
    "bigan": {"inference": {"kind": "bidirectional", "code_hidden": [16]}},
    "aae": {
        "nets": "dense",
        "hidden": [24, 16],
        "generator_batch_norm": False,
        "spectral_norm": False,
        "inference": {
            "kind": "adversarial_autoencoder",
            "posterior": "diagonal",
            "reconstruction_weight": 1.0,
            "code_hidden": [16],
        },
    },
}
both = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Served:
    """A service with both kinds, and the models behind them."""

    client: TestClient
    folder: Path
    models: dict[str, GenerativeAdversarialNetwork]
    digits: DataSplits

    def post(self, kind: str, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        return post(self.client, f"{kind}/{operation}", body)

    def encoder(self, kind: str) -> JointEncoder:
        encoder = self.models[kind].encoder
        assert encoder is not None
        return encoder

    def texts(self, count: int) -> list[str]:
        """Test digits for a request."""
        return [base64.b64encode(encode_png(picture)).decode() for picture in self.digits.test.pictures[:count]]

    def image(self, count: int) -> torch.Tensor:
        """The same for a model."""
        return torch.from_numpy(to_floats(self.digits.test.pictures[:count], PIXELS))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gan_inference")
    runs = {kind: train(folder, TINY_GAN | {"name": kind}, model=changes) for kind, changes in KINDS.items()}
    models = {}
    for kind, run in runs.items():
        publish(run, folder / "models")
        model = TrainedRun.load(run).model
        assert isinstance(model, GenerativeAdversarialNetwork)
        models[kind] = model
    digits = load_splits(TrainedRun.load(runs["bigan"]).config.data)
    with torch.no_grad(), TestClient(create_application(Settings(models_dir=folder / "models"))) as client:
        yield Served(client, folder, models, digits)


@both
def test_encoder_is_offered_and_the_discriminator_of_latents_is_not(served: Served, kind: str) -> None:
    found = served.client.get(f"/v1/models/{kind}").json()
    assert {"sample", "encode", "reconstruct", "arithmetic", "interpolate"} <= set(found["capabilities"])
    assert {"realism", "score", "refine"}.isdisjoint(found["capabilities"])
    assert "reconstruction_mse" in found["metrics"]
    card = (served.folder / "models" / kind / "1" / "card.md").read_text(encoding="utf-8")
    assert "learned beside the generator" in card
    assert "discriminator" not in card


@both
def test_latents_are_the_encoder_s(served: Served, kind: str) -> None:
    found = served.post(kind, "encode", {"images": served.texts(3), "draws": 1, "seed": 5})
    assert found["method"] == "encoder"
    encoder, image = served.encoder(kind), served.image(3)
    noise = torch.from_numpy(standard_normal(5, range(3), 6, stream=Stream.POSTERIOR))
    means, draws = (np.array([latent[name] for latent in found["latents"]]) for name in ("mean", "draws"))
    np.testing.assert_allclose(means, encoder.central(image), atol=1e-3)
    np.testing.assert_allclose(draws[:, 0], encoder(image, noise), atol=1e-3)
    scales = [latent["scale"] for latent in found["latents"]]
    if kind == "bigan":
        assert scales == [None] * 3
    else:
        np.testing.assert_allclose(scales, encoder.posterior(image).scale, atol=1e-3)


@both
def test_reconstructions_are_the_generator_s_of_the_encoder_s_latents(served: Served, kind: str) -> None:
    found = served.post(kind, "reconstruct", {"images": served.texts(4), "method": "encoder"})["images"]
    again = served.models[kind].generator(served.encoder(kind).central(served.image(4)))
    _hold_to(found, to_bytes(again.numpy(), PIXELS))


@both
def test_sums_of_pictures_are_sums_of_their_latents(served: Served, kind: str) -> None:
    weights, texts = (1.0, -0.5, 0.5), served.texts(3)
    terms = [{"weight": w, "point": {"image": text}} for w, text in zip(weights, texts, strict=True)]
    found = served.post(kind, "arithmetic", {"terms": terms})
    latent = torch.tensor(weights) @ served.encoder(kind).central(served.image(3))
    np.testing.assert_allclose(found["images"][0]["latent"], latent, atol=1e-3)
    _hold_to(found["images"], to_bytes(served.models[kind].generator(latent[None]).numpy(), PIXELS))


@both
def test_samples_are_the_generator_s_of_the_prior(served: Served, kind: str) -> None:
    found = served.post(kind, "sample", {"seed": 4, "count": 5})["images"]
    noise = torch.from_numpy(standard_normal(4, range(5), 6))
    _hold_to(found, to_bytes(served.models[kind].generator(noise).numpy(), PIXELS))


def test_second_encoder_is_refused(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-encoder", str(served.folder / "runs" / "bigan"), "--threads", "1"]) == 1
    assert "has an encoder already" in capsys.readouterr().err


def _hold_to(images: list[dict[str, Any]], wanted: np.ndarray[Any, Any]) -> None:
    """PNGs are these pictures, but for the rounding of a level."""
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"]))), int) for image in images]
    assert np.abs(np.array(found) - wanted[..., 0].astype(int)).max() <= 1
