"""The Bernoulli with independent coordinates, by its logits, in nats."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def log_mass(x: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log Bernoulli(x; sigmoid(logits)) of each coordinate, x in {0, 1}; the caller sums over those of one event.

    x log p + (1 − x) log(1 − p) = x · logits − softplus(logits), which stays finite for any logits.
    """
    return x * logits - functional.softplus(logits)


def score(x: Float[Tensor, "*shape"], logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """∂ log Bernoulli(x) / ∂ logit = x − sigmoid(logit)."""
    return x - torch.sigmoid(logits)
