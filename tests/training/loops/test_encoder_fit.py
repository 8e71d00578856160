"""An encoder is fitted through a frozen generator: it finds latents, and the scale is that of the largest ELBO."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.images.pixels import to_bytes
from tests.training.gan.test_inference import Linear
from training.config import ConfigError
from training.encoder_section import EncoderConfig, encoder_config
from training.gan.inference import GeneratorDensity
from training.loops.encoder_fit import FittedEncoder, fit_encoder, images_of
from training.loops.gan_training import PIXELS

CONFIG = EncoderConfig(channels=(16,), residual_blocks=0, epochs=30, batch_size=50, learning_rate=5e-3)
SIZE = 3


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    torch.manual_seed(0)
    found = nn.Sequential(Linear(), nn.Tanh())
    found[0].layer.weight.data *= 1.5
    return found


@pytest.fixture(scope="module")
def pictures(generator: nn.Module) -> np.ndarray:
    """The generator's own, with a little noise on every pixel."""
    with torch.no_grad():
        drawn = generator(torch.randn(700, SIZE)) + 0.05 * torch.randn(700, 1, 4, 4)
    return to_bytes(drawn.numpy(), PIXELS)


@pytest.fixture(scope="module")
def fitted(generator: nn.Module, pictures: np.ndarray) -> FittedEncoder:
    return fit_encoder(generator, SIZE, pictures[:500], pictures[500:], CONFIG)


def test_encoder_leads_back_to_the_picture_and_to_the_latent(generator: nn.Module, fitted: FittedEncoder) -> None:
    assert fitted.fit.own_mse < 0.002
    assert fitted.fit.mse < 0.004
    latent = torch.randn(200, SIZE, generator=torch.Generator().manual_seed(3))
    assert (fitted.encoder(generator(latent)).mean - latent).square().mean() < 0.1


def test_generator_is_left_as_it_was(generator: nn.Module, pictures: np.ndarray) -> None:
    before = copy.deepcopy(generator.state_dict())
    fit_encoder(generator, SIZE, pictures[:50], pictures[500:], CONFIG.model_copy(update={"epochs": 1}))
    torch.testing.assert_close(generator.state_dict(), before, rtol=0, atol=0)


def test_scale_has_the_largest_elbo_on_validation_images(
    generator: nn.Module, pictures: np.ndarray, fitted: FittedEncoder
) -> None:
    noise = torch.randn(200, 20, SIZE, generator=torch.Generator().manual_seed(4))

    def elbo(factor: float) -> float:
        density = GeneratorDensity(generator, fitted.encoder, fitted.fit.pixel_scale * factor)
        return float(density.evidence(images_of(pictures[500:]), noise).elbo.mean())

    assert elbo(1.0) > max(elbo(0.9), elbo(1.1))
    assert elbo(1.0) == pytest.approx(fitted.fit.elbo_nats, abs=0.5)


def test_fit_is_the_same_again(generator: nn.Module, pictures: np.ndarray) -> None:
    short = CONFIG.model_copy(update={"epochs": 1})
    first, second = (fit_encoder(generator, SIZE, pictures[:100], pictures[500:], short) for _ in range(2))
    assert first.fit == second.fit


def test_saved_encoder_is_the_same_when_it_is_read_again(fitted: FittedEncoder, tmp_path: Path) -> None:
    fitted.save(tmp_path / "encoder.pt")
    again = FittedEncoder.load(tmp_path / "encoder.pt", (1, 4, 4), SIZE)
    assert again.as_toml_document() == fitted.as_toml_document()
    image = torch.rand(5, 1, 4, 4)
    torch.testing.assert_close(again.encoder(image).mean, fitted.encoder(image).mean, rtol=0, atol=0)


def test_options_are_read_and_wrong_ones_named() -> None:
    found = encoder_config({"channels": "8,16", "epochs": "3", "posterior": "full_covariance"})
    assert found == EncoderConfig(channels=(8, 16), epochs=3, posterior="full_covariance")
    with pytest.raises(ConfigError, match=r"epochs: .*got '0'"):
        encoder_config({"epochs": "0"})
