"""The two nets and the model that holds them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.config import DataConfig
from training.gan.discriminator import Discriminator
from training.gan.generator import Generator
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig

every_size = pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
every_channel_count = pytest.mark.parametrize("channels", [1, 3])


@every_size
@every_channel_count
@pytest.mark.parametrize("batch_norm", [False, True])
def test_generator_draws_images_of_the_asked_shape_within_the_pixel_range(
    size: int, channels: int, batch_norm: bool
) -> None:
    generator = Generator(size, channels, latent_size=5, channels=4, batch_norm=batch_norm)
    image = generator(100 * torch.randn(3, 5))
    assert image.shape == (3, channels, size, size)
    assert image.abs().max() <= 1


@every_size
@every_channel_count
@pytest.mark.parametrize(("batch_norm", "spectral_norm"), [(False, False), (True, False), (False, True)])
def test_discriminator_gives_one_logit_an_image(
    size: int, channels: int, batch_norm: bool, spectral_norm: bool
) -> None:
    discriminator = Discriminator(size, channels, 4, batch_norm=batch_norm, spectral_norm=spectral_norm)
    assert discriminator(torch.rand(3, channels, size, size)).shape == (3,)


def test_weights_start_as_in_the_paper() -> None:
    generator = Generator(28, 1, latent_size=64, channels=32)
    weights = [layer.weight for layer in _weighted(generator)]
    drawn = torch.cat([weight.flatten() for weight in weights])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=2e-4)


def test_generator_without_batch_norm_answers_each_latent_alone() -> None:
    generator = Generator(8, 1, latent_size=5, channels=4, batch_norm=False)
    latents = torch.randn(6, 5)
    torch.testing.assert_close(generator(latents)[2:3], generator(latents[2:3]))


def test_spectral_norm_brings_every_layers_largest_singular_value_to_one() -> None:
    discriminator = Discriminator(16, 3, 8, spectral_norm=True)
    for _ in range(50):  # each forward pass in training refines the estimate by one power iteration
        discriminator(torch.rand(2, 3, 16, 16))
    discriminator.eval()
    for layer in _weighted(discriminator):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        torch.testing.assert_close(largest, torch.ones(()), rtol=0.02, atol=0)


def test_discriminator_with_spectral_norm_leaves_no_layer_out() -> None:
    bounded = Discriminator(16, 1, 4, spectral_norm=True)
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in _weighted(bounded))


def test_model_from_config_takes_sizes_from_the_data() -> None:
    config = GanConfig(family="gan", latent_size=6, generator_channels=4, discriminator_channels=4)
    model = GenerativeAdversarialNetwork.from_config(config, DataConfig(set="digits", size=16, channels=3))
    image: Tensor = model.generator(torch.randn(2, 6))
    assert image.shape == (2, 3, 16, 16)
    assert model.discriminator(image).shape == (2,)


def _weighted(net: nn.Module) -> list[nn.Module]:
    return [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
