"""Giving a finished generator an encoder: trained through the generator, which stays as it is.

On real images the encoder maximises the ELBO of the density that the generator has with Gaussian pixels around its
images, whose scale follows the error reached (Rybkin, Daniilidis, Levine, arXiv:2006.13202); on the generator's own
images it maximises log q(z|G(z)) of the latents behind them, which are known (the "sleep" phase of Hinton, Dayan, Frey,
Neal 1995). The first makes it right about the pictures that will come, the second keeps it from settling on one of the
latents that explain a picture about equally well.

A generator that is told a class is told that of each real image, and draws its own images in the same classes, so that
these are as frequent as in the data; the encoder is told them, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from app.images.pixels import to_floats
from training.config import OptimiserConfig
from training.data.progress import progress
from training.data.splits import ImageSet
from training.encoder_section import EncoderConfig
from training.gan.generator import Generator
from training.gan.inference import Encoder, GeneratorDensity
from training.loops.checkpoint import load_checkpoint, save_checkpoint
from training.loops.gan_shown import Batch
from training.loops.gan_training import PIXELS
from training.loops.schedule import Plan, learning_rate_factor, set_learning_rate, step_generator
from training.nets.dense import ImageShape
from training.probability.gaussian import LOG_2PI

Pictures = NDArray[np.uint8]

AT_ONCE = 250
CLIP_NORM = 100.0
"""Of the gradient of sums over hundreds of pixels."""
SCALE_MEMORY = 0.99
"""Of the squared error that the pixels' scale follows, from step to step."""
MEASURING_STEP = 2**30
"""A step that no fit reaches: its generator draws the noise that validation images are measured with."""


@dataclass(frozen=True)
class Fit:
    """How far an encoder came, on validation images, and on as many of the generator's own."""

    pixel_scale: float
    """σ of pixels in [0, 1]: that of the largest mean ELBO."""
    elbo_nats: float
    mse: float
    """Of pixels in [0, 1], at the posterior's mean."""
    own_mse: float
    own_latent_nats: float
    """−log q(z|G(z)) of the latents behind own images."""


@dataclass(frozen=True)
class FittedEncoder:
    """An encoder of a generator's images, how it was fitted, and what it reaches."""

    config: EncoderConfig
    encoder: Encoder
    fit: Fit

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        numbers = {field.name: getattr(self.fit, field.name) for field in fields(Fit)}
        save_checkpoint(path, {"config": self.config.model_dump(), "net": self.encoder.state_dict(), **numbers})

    @classmethod
    def load(cls, path: Path, image_shape: ImageShape, latent_size: int, classes: int = 0) -> FittedEncoder:
        """Read what `save` wrote; `classes` are those that the generator is told apart."""
        state = load_checkpoint(path)
        config = EncoderConfig.model_validate(state["config"])
        encoder = Encoder(config, image_shape, latent_size, classes)
        encoder.load_state_dict(state["net"])
        return cls(config, encoder, Fit(**{field.name: state[field.name] for field in fields(Fit)}))

    def as_toml_document(self) -> dict[str, Any]:
        """Its configuration and its numbers as plain values."""
        numbers = {field.name: round(getattr(self.fit, field.name), 5) for field in fields(Fit)}
        return {"encoder": self.config.model_dump(mode="json"), "fit": numbers}


def fit_encoder(generator: Generator, train: ImageSet, validation: ImageSet, config: EncoderConfig) -> FittedEncoder:
    """Fit to training pictures, and to their labels where the generator is told them.

    σ is chosen on validation pictures in the end.
    """
    torch.manual_seed(config.seed)
    generator = generator.eval().requires_grad_(False)
    _, height, width, channels = train.pictures.shape
    encoder = Encoder(config, (channels, height, width), generator.latent_size, generator.classes)
    density = GeneratorDensity(generator, encoder)
    plan = Plan(len(train), min(config.batch_size, len(train)), config.epochs, config.seed)
    adam = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate)
    steps = progress(plan.batches(done_steps=0), total=plan.total_steps, doing="fitting an encoder")
    for step, chosen in enumerate(steps):
        factor = learning_rate_factor(OptimiserConfig(schedule="cosine"), step, plan.total_steps)
        set_learning_rate(adam, config.learning_rate * factor)
        batch = as_told(train.take(chosen), generator)
        _update(density, adam, batch, config.own_weight, step_generator(config.seed, step))
    encoder.eval().requires_grad_(False)
    return FittedEncoder(config, encoder, _measure(density, validation, config.seed))


def images_of(pictures: Pictures) -> Float[Tensor, "n c h w"]:
    """Pictures (N, H, W, C) as a GAN's tensors."""
    return torch.from_numpy(to_floats(pictures, PIXELS))


def as_told(images: ImageSet, generator: Generator) -> Batch:
    """Pictures as a GAN's tensors, with their labels where the generator is told them."""
    image = images_of(images.pictures)
    if images.labels is None or not generator.classes:
        return Batch(image, None)
    return Batch(image, torch.from_numpy(images.labels))


def _update(
    density: GeneratorDensity,
    adam: torch.optim.Adam,
    batch: Batch,
    own_weight: float,
    draw: torch.Generator,
) -> None:
    """One step down E[−ELBO(x)] + weight · E[−log q(z|G(z))]; σ² then follows the error of the pixels."""
    image, label = batch
    size = density.encoder.family.latent_size
    terms = density.evidence(image, torch.randn(len(image), 1, size, generator=draw), label)
    own = torch.randn(len(image), size, generator=draw)
    explained = density.posterior(density.generator(own, label), label).log_density(own[:, None])
    loss = (-terms.elbo - own_weight * explained[:, 0]).mean()
    adam.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(density.encoder.parameters(), CLIP_NORM)
    adam.step()
    variance = density.scale.square()
    seen = _squared_error(terms.log_likelihood.detach().mean(), density.scale, image[0].numel())
    density.scale.copy_(torch.sqrt(SCALE_MEMORY * variance + (1 - SCALE_MEMORY) * seen))


def _squared_error(log_likelihood: Tensor, scale: Tensor, pixels: int) -> Tensor:
    """The mean squared error of pixels behind a Gaussian log density of them all."""
    error: Tensor = -2 * scale.square() * (log_likelihood / pixels + torch.log(scale) + 0.5 * LOG_2PI)
    return error


@torch.no_grad()
def _measure(density: GeneratorDensity, validation: ImageSet, seed: int) -> Fit:
    """With σ² set to the pixels' mean squared error over draws from q(z|x), where the mean ELBO is largest."""
    draw = step_generator(seed, MEASURING_STEP)
    size, found = density.encoder.family.latent_size, []
    for start in range(0, len(validation), AT_ONCE):
        batch = as_told(validation.take(np.arange(start, min(start + AT_ONCE, len(validation)))), density.generator)
        noise, own = (torch.randn(len(batch.image), size, generator=draw) for _ in range(2))
        found.append(_numbers(density, batch, noise, own))
    means = [float(torch.cat(each).double().mean()) for each in zip(*found, strict=True)]
    drawn_error, mse, kl, own_mse, own_nats = means
    scale = drawn_error**0.5
    pixels = validation.pictures[0].size
    elbo = -pixels * (math.log(scale) + 0.5 * LOG_2PI + 0.5) - kl
    density.scale.fill_(scale)
    return Fit(scale, elbo, mse, own_mse, own_nats)


def _numbers(density: GeneratorDensity, batch: Batch, noise: Tensor, own: Tensor) -> tuple[Tensor, ...]:
    """Of each image: squared errors at a draw and at the mean, KL; of each own one: squared error, −log q."""
    image, label = batch
    posterior = density.posterior(image, label)
    latent = posterior.draw(noise[:, None]).latent[:, 0]
    drawn = density.generator(own, label)
    behind = density.posterior(drawn, label)
    return (
        _error(density.generator(latent, label), image),
        _error(density.generator(posterior.mean, label), image),
        posterior.kl_to_standard_normal(),
        _error(density.generator(behind.mean, label), drawn),
        -behind.log_density(own[:, None])[:, 0],
    )


def _error(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared, of pixels in [0, 1], each (B)."""
    return ((image - target) / 2).square().flatten(1).mean(dim=1)
