"""A generative adversarial network: two nets that learn from each other, some with an encoder as a third."""

from __future__ import annotations

import math
from typing import Self

from torch import nn

from training.config import ConfigError, DataConfig
from training.gan.discriminator import (
    Conditioning,
    ConvolutionalDiscriminator,
    DenseDiscriminator,
    Discriminator,
    halvings,
    leaky_stack,
)
from training.gan.generator import ConvolutionalGenerator, DenseGenerator, Generator
from training.gan.initialisation import initialise
from training.gan.joint_encoder import JointEncoder, joint_encoder
from training.gan.pair_discriminator import LatentDiscriminator, PairDiscriminator
from training.gan.pyramid import pyramid
from training.gan_sections import GanConfig


class GenerativeAdversarialNetwork(nn.Module):
    """A generator and the discriminator that it is trained against (Goodfellow et al. 2014); images in [−1, 1].

    With an encoder the discriminator is of pairs of image and latent, or of latents alone.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator, encoder: JointEncoder | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.encoder = encoder

    @property
    def drawing(self) -> nn.Module:
        """The nets on the generator's side of the game."""
        return self.generator if self.encoder is None else nn.ModuleList([self.generator, self.encoder])

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
        judge = _discriminator if model.inference.kind == "none" else _discriminator_of_latents
        return cls(_generator(model, data, told), judge(model, data, classes), joint_encoder(model, data))


def _generator(model: GanConfig, data: DataConfig, classes: int) -> Generator:
    coupled = model.condition == "coupled"
    if model.nets == "dense":
        shape = (data.channels, data.size, data.size)
        return DenseGenerator(shape, model.latent_size, model.hidden, classes=classes, coupled=coupled)
    return ConvolutionalGenerator(
        data.size,
        data.channels,
        model.latent_size,
        model.generator_channels,
        classes=classes,
        coupled=coupled,
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
        hidden=model.discriminator_hidden,
        conditioning=conditioning,
        batch_norm=model.discriminator_batch_norm,
        spectral_norm=model.spectral_norm,
    )


def _discriminator_of_latents(model: GanConfig, data: DataConfig, _: int) -> Discriminator:
    inference, norm = model.inference, model.spectral_norm
    if inference.kind == "adversarial_autoencoder":
        return LatentDiscriminator(model.latent_size, inference.code_hidden, spectral_norm=norm)
    shape = (data.channels, data.size, data.size)
    if model.nets == "dense":
        of_image = nn.Sequential(nn.Flatten(), *leaky_stack([math.prod(shape), *model.hidden]))
        features = model.hidden[-1]
    else:
        base, widths = pyramid(data.size, model.discriminator_channels)
        of_image, features = halvings(data.channels, widths[::-1], batch_norm=False), widths[0] * base**2
        initialise(of_image)
    return PairDiscriminator(shape, model.latent_size, of_image, features, inference.code_hidden, spectral_norm=norm)
