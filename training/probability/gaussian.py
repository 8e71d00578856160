"""The Gaussian with independent coordinates, in nats."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def log_density(x: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], scale: Tensor) -> Float[Tensor, "*shape"]:
    """log N(x; mean, scale²) of each coordinate; the caller sums over those of one event.

    −½ ((x − mean) / scale)² − log scale − ½ log 2π, with any shapes that broadcast.
    """
    return -0.5 * ((x - mean) / scale).square() - torch.log(scale) - 0.5 * LOG_2PI


def score(x: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], scale: Tensor) -> Float[Tensor, "*shape"]:
    """∂ log N(x; mean, scale²) / ∂ mean = (x − mean) / scale²."""
    return (x - mean) / scale.square()


def standard_log_density(x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
    """log N(x; 0, I), summed over the last axis."""
    return (-0.5 * x.square() - 0.5 * LOG_2PI).sum(dim=-1)


def log_density_of_draw(noise: Float[Tensor, "*batch size"], scale: Tensor) -> Float[Tensor, "*batch"]:
    """log N(z; mean, scale²) at z = mean + scale · noise, summed over the last axis.

    log N(noise; 0, I) − Σ log scale, by the change of variables: z − mean would lose the digits of the noise to
    rounding where the scale is small beside the mean, up to a thousandth of a nat at usual sizes.
    """
    return standard_log_density(noise) - torch.log(scale).sum(dim=-1)


def kl_to_standard_normal(
    mean: Float[Tensor, "batch size"], scale: Float[Tensor, "batch size"]
) -> Float[Tensor, " batch"]:
    """KL(N(mean, scale²) ‖ N(0, I)) per example: ½ Σ (mean² + scale² − 1 − log scale²).

    Kingma & Welling 2014, appendix B.
    """
    return kl_per_dimension(mean, scale).sum(dim=-1)


def kl_per_dimension(mean: Float[Tensor, "*shape"], scale: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The terms of `kl_to_standard_normal` before they are summed: how much each coordinate says about the image."""
    return 0.5 * (mean.square() + scale.square() - 1) - torch.log(scale)
