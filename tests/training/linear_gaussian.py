"""A VAE whose p(x) is known: z ~ N(0, I), x|z ~ N(Wz + b, σ²I), so that x ~ N(b, WWᵀ + σ²I) (Tipping & Bishop 1999)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from training.nets.adjoint import Linearised
from training.probability.likelihood import GaussianLikelihood
from training.vae.model import VariationalAutoencoder

SIDE, LATENT_SIZE = 3, 2
PIXELS = SIDE * SIDE


class LinearGaussianLikelihood(GaussianLikelihood):
    """The Gaussian whose mean is the decoder's output itself."""

    def mean(self, output: Tensor) -> Tensor:
        return output

    def linearised_mean(self, output: Tensor) -> Linearised:
        return Linearised(output, lambda cotangent: cotangent)


class _LinearDecoder(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, latent: Tensor) -> Tensor:
        picture: Tensor = self.linear(latent).unflatten(1, (1, SIDE, SIDE))
        return picture

    def chain(self) -> tuple[nn.Module, ...]:
        return self.linear, nn.Unflatten(1, (1, SIDE, SIDE))


class _LinearEncoder(nn.Module):
    """mean = gain · (x − b), with a scale that is the same for every image."""

    def __init__(self, gain: Tensor, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.mean = nn.Linear(PIXELS, LATENT_SIZE)
        self.mean.weight.data = gain
        self.mean.bias.data = -gain @ offset
        self.log_scale = nn.Parameter(scale.log())

    def forward(self, image: Tensor) -> Tensor:
        mean = self.mean(image.flatten(1))
        return torch.cat([mean, self.log_scale.expand_as(mean)], dim=1)


@dataclass(frozen=True)
class LinearGaussian:
    """The model, images drawn from it, and what is true of them."""

    vae: VariationalAutoencoder
    image: Tensor
    log_density: Tensor
    """Of each image, in double precision."""
    gap: float
    """KL(q(z|x) ‖ p(z|x)), the same for every image."""


def linear_gaussian(*, shift: float = 0.0, inflation: float = 1.0, images: int = 6) -> LinearGaussian:
    """With shift 0 and inflation 1 q(z|x) is the exact posterior; else its mean and scale are off by so much.

    The columns of W are orthogonal, so that the exact posterior's covariance is diagonal, as q's is.
    """
    generator = torch.Generator().manual_seed(5)
    axes, _ = torch.linalg.qr(torch.randn(PIXELS, LATENT_SIZE, generator=generator, dtype=torch.float64))
    weight, offset = axes * torch.tensor([1.5, 0.6]), torch.rand(PIXELS, generator=generator, dtype=torch.float64)
    likelihood = LinearGaussianLikelihood().double()
    noise_scale = likelihood.scale.detach()
    precision = torch.eye(LATENT_SIZE) + weight.T @ weight / noise_scale**2
    covariance = torch.linalg.inv(precision)
    posterior_scale = covariance.diagonal().sqrt()
    gain = covariance @ weight.T / noise_scale**2
    encoder = _LinearEncoder(gain, offset, inflation * posterior_scale)
    encoder.mean.bias.data += shift * posterior_scale
    linear = nn.Linear(LATENT_SIZE, PIXELS)
    linear.weight.data, linear.bias.data = weight, offset
    vae = VariationalAutoencoder(encoder, _LinearDecoder(linear), likelihood, LATENT_SIZE).float()
    marginal = MultivariateNormal(offset, weight @ weight.T + noise_scale**2 * torch.eye(PIXELS))
    image = offset + (torch.randn(images, PIXELS, generator=generator, dtype=torch.float64) @ marginal.scale_tril.T)
    image = image.float()
    gap = LATENT_SIZE * (0.5 * (shift**2 + inflation**2 - 1) - math.log(inflation))
    log_density = marginal.log_prob(image.double())
    return LinearGaussian(vae.requires_grad_(False), image.unflatten(1, (1, SIDE, SIDE)), log_density, gap)
