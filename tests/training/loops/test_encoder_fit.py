"""An encoder is fitted through a frozen generator: it finds latents, and the scale is that of the largest ELBO."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.images.pixels import to_bytes
from tests.training.gan.test_inference import CLASSES, TOLD, Linear, each
from training.config import ConfigError
from training.data.splits import HIDDEN, ImageSet
from training.encoder_section import EncoderConfig, encoder_config
from training.gan.generator import Generator
from training.gan.inference import GeneratorDensity
from training.loops.encoder_fit import FittedEncoder, as_told, fit_encoder
from training.loops.gan_training import PIXELS

CONFIG = EncoderConfig(channels=(16,), residual_blocks=0, epochs=30, batch_size=50, learning_rate=5e-3)
SHORT = CONFIG.model_copy(update={"epochs": 1})
SIZE, TRAIN = 3, np.arange(500)
NOISE = 0.025
"""Of the pictures, pixels in [0, 1]."""


@pytest.fixture(scope="module", params=list(TOLD))
def generator(request: pytest.FixtureRequest) -> Generator:
    torch.manual_seed(0)
    classes, coupled = TOLD[request.param]
    found = Linear(classes, coupled=coupled, ending=nn.Tanh())
    found.layer.weight.data[:, :SIZE] *= 1.5
    return found


@pytest.fixture(scope="module")
def images(generator: Generator) -> ImageSet:
    return noisy(generator)


def noisy(generator: Generator) -> ImageSet:
    """A generator's own pictures, of classes in turn, with a little noise on every pixel."""
    labels = torch.arange(700) % CLASSES
    with torch.no_grad():
        drawn = generator(torch.randn(700, SIZE), labels if generator.classes else None)
        drawn = drawn + 2 * NOISE * torch.randn(700, 1, 4, 4)
    return ImageSet(to_bytes(drawn.numpy(), PIXELS), labels.numpy())


def validation(images: ImageSet) -> ImageSet:
    return images.take(np.arange(500, 700))


@pytest.fixture(scope="module")
def fitted(generator: Generator, images: ImageSet) -> FittedEncoder:
    return fit_encoder(generator, images.take(TRAIN), validation(images), CONFIG)


def test_encoder_leads_back_to_the_picture_and_to_the_latent(generator: Generator, fitted: FittedEncoder) -> None:
    assert fitted.fit.own_mse < 0.002
    assert fitted.fit.mse < 0.004
    latent = torch.randn(200, SIZE, generator=torch.Generator().manual_seed(3))
    label = torch.arange(200) % CLASSES if generator.classes else None
    assert (fitted.encoder(generator(latent, label), label).mean - latent).square().mean() < 0.1


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_fit_comes_near_the_closed_form_of_a_linear_generator(told: tuple[int, bool]) -> None:
    """On real images alone, as own ones have no noise: σ is the noise's, q(z|x,y) p(z|x,y), the ELBO log p(x|y)."""
    torch.manual_seed(1)
    generator = Linear(told[0], coupled=told[1])
    generator.layer.weight.data *= 0.5
    images = noisy(generator)
    config = CONFIG.model_copy(update={"channels": (48,), "epochs": 60, "own_weight": 0.0})
    found = fit_encoder(generator, images, unseen := validation(noisy(generator)), config)
    sigma = found.fit.pixel_scale
    assert sigma == pytest.approx(NOISE, rel=0.15)
    image, label = as_told(unseen, generator)
    rows = list(zip(image, each(label, len(image)), strict=True))
    density = np.mean([generator.log_density(picture, of, sigma) for picture, of in rows])
    assert density - 2 < found.fit.elbo_nats < density + 0.1
    exact = torch.stack([generator.posterior(picture, of, sigma)[0] for picture, of in rows])
    assert (found.encoder(image, label).mean - exact).square().mean() < 0.05


@pytest.mark.parametrize("generator", ["a class", "coupled"], indirect=True)
def test_picture_is_explained_worse_as_one_of_another_class(
    generator: Generator, images: ImageSet, fitted: FittedEncoder
) -> None:
    """The label reaches both nets."""
    image, label = as_told(validation(images), generator)
    assert label is not None
    density = GeneratorDensity(generator, fitted.encoder, fitted.fit.pixel_scale)
    noise = torch.zeros(len(image), 1, SIZE)
    own, other = (density.evidence(image, noise, told).elbo for told in (label, (label + 1) % CLASSES))
    assert (own > other).float().mean() > 0.95


def test_labels_that_no_net_is_told_change_nothing() -> None:
    """As of a classifier from few labels, whose generator is told no class."""
    torch.manual_seed(0)
    generator = Linear(ending=nn.Tanh())
    told = noisy(generator).take(TRAIN[:100])
    hidden = ImageSet(told.pictures, np.full(100, HIDDEN))
    unlabelled = ImageSet(told.pictures, None)
    fits = [fit_encoder(generator, images, images, SHORT).fit for images in (told, hidden, unlabelled)]
    assert fits[0] == fits[1] == fits[2]


def test_generator_is_left_as_it_was(generator: Generator, images: ImageSet) -> None:
    before = copy.deepcopy(generator.state_dict())
    fit_encoder(generator, images.take(TRAIN[:50]), validation(images), SHORT)
    torch.testing.assert_close(generator.state_dict(), before, rtol=0, atol=0)


def test_scale_has_the_largest_elbo_on_validation_images(
    generator: Generator, images: ImageSet, fitted: FittedEncoder
) -> None:
    noise = torch.randn(200, 20, SIZE, generator=torch.Generator().manual_seed(4))
    image, label = as_told(validation(images), generator)

    def elbo(factor: float) -> float:
        density = GeneratorDensity(generator, fitted.encoder, fitted.fit.pixel_scale * factor)
        return float(density.evidence(image, noise, label).elbo.mean())

    assert elbo(1.0) > max(elbo(0.9), elbo(1.1))
    assert elbo(1.0) == pytest.approx(fitted.fit.elbo_nats, abs=0.5)


def test_fit_is_the_same_again(generator: Generator, images: ImageSet) -> None:
    parts = images.take(TRAIN[:100]), validation(images)
    first, second = (fit_encoder(generator, *parts, SHORT) for _ in range(2))
    assert first.fit == second.fit


def test_saved_encoder_is_the_same_when_it_is_read_again(
    generator: Generator, fitted: FittedEncoder, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "encoder.pt")
    again = FittedEncoder.load(tmp_path / "encoder.pt", (1, 4, 4), SIZE, generator.classes)
    assert again.as_toml_document() == fitted.as_toml_document()
    image, label = torch.rand(5, 1, 4, 4), torch.arange(5) % CLASSES if generator.classes else None
    torch.testing.assert_close(again.encoder(image, label).mean, fitted.encoder(image, label).mean, rtol=0, atol=0)
    parts = {name.split(".")[0] for name in fitted.encoder.state_dict()}  # files of before there were labels are read
    assert parts == ({"net", "label_picture"} if generator.classes else {"net"})


def test_options_are_read_and_wrong_ones_named() -> None:
    found = encoder_config({"channels": "8,16", "epochs": "3", "posterior": "full_covariance"})
    assert found == EncoderConfig(channels=(8, 16), epochs=3, posterior="full_covariance")
    with pytest.raises(ConfigError, match=r"epochs: .*got '0'"):
        encoder_config({"epochs": "0"})
