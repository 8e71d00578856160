"""The continuous Bernoulli on [0, 1] by its logits, in nats (Loaiza-Ganem & Cunningham 2019).

p(x) ∝ λˣ (1 − λ)¹⁻ˣ: the Bernoulli's formula with the normaliser that it needs before it may be used for grey pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

NEAR_ZERO = 0.1
"""Logits below this size take a series: the closed forms are 0 / 0 at zero."""


def log_density(x: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log p(x) of each coordinate, x in [0, 1]: x · logit − log((exp(logit) − 1) / logit).

    The normaliser is computed as max(logit, 0) + log((1 − exp(−|logit|)) / |logit|), which never overflows.
    """
    size = logits.abs()
    series = -size / 2 + size.square() / 24
    safe = torch.where(size < NEAR_ZERO, 1.0, size)  # the branch not taken must have a gradient too
    exact = torch.log(-torch.expm1(-safe) / safe)
    return x * logits - logits.clamp(min=0) - torch.where(size < NEAR_ZERO, series, exact)


def mean(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """E[x] = 1 / (1 − exp(−logit)) − 1 / logit: nearer to ½ than the Bernoulli's.

    Computed for |logit|, which cannot overflow, and mirrored at ½.
    """
    size = logits.abs()
    safe = torch.where(size < NEAR_ZERO, 1.0, size)
    exact = torch.reciprocal(1 - torch.exp(-safe)) - torch.reciprocal(safe) - 0.5
    beyond_half = torch.where(size < NEAR_ZERO, size / 12 - size.pow(3) / 720, exact)
    return 0.5 + torch.sign(logits) * beyond_half


def score(x: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """∂ log p(x) / ∂ logit = x − E[x], as in every exponential family."""
    return x - mean(logits)


def variance(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Var[x] = ∂ E[x] / ∂ logit = 1 / logit² − 1 / (2 sinh(logit / 2))², 1/12 at zero.

    The two terms nearly cancel for small logits: up to 1 the derivative of x/2 · coth(x/2)'s series stands for them.
    """
    square = logits.square()
    series = 1 / 12 - square * (1 / 240 - square * (1 / 6048 - square * (1 / 172_800 - square / 5_322_240)))
    size = torch.where(square < 1, 1.0, logits.abs())  # the branch not taken must be finite too
    decayed = torch.exp(-size)
    return torch.where(square < 1, series, torch.reciprocal(size.square()) - decayed / (1 - decayed).square())
