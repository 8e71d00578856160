"""A generative adversarial network: two nets that learn from each other."""

from __future__ import annotations

from typing import Self

from torch import nn

from training.config import DataConfig
from training.gan.discriminator import Discriminator
from training.gan.generator import Generator
from training.gan_sections import GanConfig


class GenerativeAdversarialNetwork(nn.Module):
    """A generator and the discriminator that it is trained against (Goodfellow et al. 2014); images in [−1, 1]."""

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    @classmethod
    def from_config(cls, model: GanConfig, data: DataConfig) -> Self:
        """Build both nets for the data's image size and channels; ValueError for a side that a DCGAN cannot reach."""
        generator = Generator(
            data.size, data.channels, model.latent_size, model.generator_channels, batch_norm=model.generator_batch_norm
        )
        discriminator = Discriminator(
            data.size,
            data.channels,
            model.discriminator_channels,
            batch_norm=model.discriminator_batch_norm,
            spectral_norm=model.spectral_norm,
        )
        return cls(generator, discriminator)
