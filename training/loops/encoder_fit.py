"""Giving a finished generator an encoder: trained through the generator, which stays as it is.

On real images the encoder maximises the ELBO of the density that the generator has with Gaussian pixels around its
images, whose scale follows the error reached (Rybkin, Daniilidis, Levine, arXiv:2006.13202); on the generator's own
images it maximises log q(z|G(z)) of the latents behind them, which are known (the "sleep" phase of Hinton, Dayan, Frey,
Neal 1995). The first makes it right about the pictures that will come, the second keeps it from settling on one of the
latents that explain a picture about equally well.
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
from training.encoder_section import EncoderConfig
from training.gan.inference import Encoder, GeneratorDensity
from training.loops.checkpoint import load_checkpoint, save_checkpoint
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
    def load(cls, path: Path, image_shape: ImageShape, latent_size: int) -> FittedEncoder:
        """Read what `save` wrote."""
        state = load_checkpoint(path)
        config = EncoderConfig.model_validate(state["config"])
        encoder = Encoder(config, image_shape, latent_size)
        encoder.load_state_dict(state["net"])
        return cls(config, encoder, Fit(**{field.name: state[field.name] for field in fields(Fit)}))

    def as_toml_document(self) -> dict[str, Any]:
        """Its configuration and its numbers as plain values."""
        numbers = {field.name: round(getattr(self.fit, field.name), 5) for field in fields(Fit)}
        return {"encoder": self.config.model_dump(mode="json"), "fit": numbers}


def fit_encoder(
    generator: nn.Module, latent_size: int, train: Pictures, validation: Pictures, config: EncoderConfig
) -> FittedEncoder:
    """Fit to training pictures (N, H, W, C); σ is chosen on validation pictures in the end."""
    torch.manual_seed(config.seed)
    generator = generator.eval().requires_grad_(False)
    _, height, width, channels = train.shape
    density = GeneratorDensity(generator, Encoder(config, (channels, height, width), latent_size))
    plan = Plan(len(train), min(config.batch_size, len(train)), config.epochs, config.seed)
    adam = torch.optim.Adam(density.encoder.parameters(), lr=config.learning_rate)
    steps = progress(plan.batches(done_steps=0), total=plan.total_steps, doing="fitting an encoder")
    for step, chosen in enumerate(steps):
        factor = learning_rate_factor(OptimiserConfig(schedule="cosine"), step, plan.total_steps)
        set_learning_rate(adam, config.learning_rate * factor)
        _update(density, adam, images_of(train[chosen]), config.own_weight, step_generator(config.seed, step))
    encoder = density.encoder.eval().requires_grad_(False)
    return FittedEncoder(config, encoder, _measure(density, validation, config.seed))


def images_of(pictures: Pictures) -> Float[Tensor, "n c h w"]:
    """Pictures (N, H, W, C) as a GAN's tensors."""
    return torch.from_numpy(to_floats(pictures, PIXELS))


def _update(
    density: GeneratorDensity,
    adam: torch.optim.Adam,
    image: Float[Tensor, "batch c h w"],
    own_weight: float,
    draw: torch.Generator,
) -> None:
    """One step down E[−ELBO(x)] + weight · E[−log q(z|G(z))]; σ² then follows the error of the pixels."""
    size = density.encoder.family.latent_size
    terms = density.evidence(image, torch.randn(len(image), 1, size, generator=draw))
    own = torch.randn(len(image), size, generator=draw)
    explained = density.posterior(density.generator(own)).log_density(own[:, None])
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
def _measure(density: GeneratorDensity, validation: Pictures, seed: int) -> Fit:
    """With σ² set to the pixels' mean squared error over draws from q(z|x), where the mean ELBO is largest."""
    draw = step_generator(seed, MEASURING_STEP)
    size, found = density.encoder.family.latent_size, []
    for start in range(0, len(validation), AT_ONCE):
        image = images_of(validation[start : start + AT_ONCE])
        noise, own = (torch.randn(len(image), size, generator=draw) for _ in range(2))
        found.append(_numbers(density, image, noise, own))
    means = [float(torch.cat(each).double().mean()) for each in zip(*found, strict=True)]
    drawn_error, mse, kl, own_mse, own_nats = means
    scale = drawn_error**0.5
    pixels = validation[0].size
    elbo = -pixels * (math.log(scale) + 0.5 * LOG_2PI + 0.5) - kl
    density.scale.fill_(scale)
    return Fit(scale, elbo, mse, own_mse, own_nats)


def _numbers(density: GeneratorDensity, image: Tensor, noise: Tensor, own: Tensor) -> tuple[Tensor, ...]:
    """Of each image: squared errors at a draw and at the mean, KL; of each own one: squared error, −log q."""
    posterior = density.posterior(image)
    latent = posterior.draw(noise[:, None]).latent[:, 0]
    drawn = density.generator(own)
    behind = density.posterior(drawn)
    return (
        _error(density.generator(latent), image),
        _error(density.generator(posterior.mean), image),
        posterior.kl_to_standard_normal(),
        _error(density.generator(behind.mean), drawn),
        -behind.log_density(own[:, None])[:, 0],
    )


def _error(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared, of pixels in [0, 1], each (B)."""
    return ((image - target) / 2).square().flatten(1).mean(dim=1)
