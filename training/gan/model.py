"""A generative adversarial network: two nets that learn from each other."""

from __future__ import annotations

from typing import Self

from torch import nn

from training.config import ConfigError, DataConfig
from training.gan.discriminator import Conditioning, ConvolutionalDiscriminator, DenseDiscriminator, Discriminator
from training.gan.generator import ConvolutionalGenerator, DenseGenerator, Generator
from training.gan_sections import GanConfig


class GenerativeAdversarialNetwork(nn.Module):
    """A generator and the discriminator that it is trained against (Goodfellow et al. 2014); images in [−1, 1]."""

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    @property
    def classes(self) -> int:
        """How many classes the generator is told apart; 0 where it is told nothing."""
        return self.generator.classes

    @classmethod
    def from_config(cls, model: GanConfig, data: DataConfig, *, classes: int = 0) -> Self:
        """Build both nets for the data's images, and for its classes where the model is conditional.

        Raises ConfigError where it has none, and for a side that a DCGAN cannot reach.
        """
        if model.condition == "discovered":
            classes = model.discovered_classes
        if model.condition != "none" and classes < 2:
            raise ConfigError("model.condition needs a data set with two classes or more")
        told = 0 if model.condition in ("none", "semi_supervised") else classes
        return cls(_generator(model, data, told), _discriminator(model, data, classes))


def _generator(model: GanConfig, data: DataConfig, classes: int) -> Generator:
    if model.nets == "dense":
        return DenseGenerator((data.channels, data.size, data.size), model.latent_size, model.hidden, classes=classes)
    return ConvolutionalGenerator(
        data.size,
        data.channels,
        model.latent_size,
        model.generator_channels,
        classes=classes,
        batch_norm=model.generator_batch_norm,
    )


def _discriminator(model: GanConfig, data: DataConfig, classes: int) -> Discriminator:
    conditioning = Conditioning(model.condition, classes, model.codes)
    if model.nets == "dense":
        shape = (data.channels, data.size, data.size)
        return DenseDiscriminator(
            shape,
            model.hidden,
            conditioning=conditioning,
            spectral_norm=model.spectral_norm,
            noise=model.discriminator_noise,
        )
    return ConvolutionalDiscriminator(
        data.size,
        data.channels,
        model.discriminator_channels,
        conditioning=conditioning,
        batch_norm=model.discriminator_batch_norm,
        spectral_norm=model.spectral_norm,
    )
