"""The logistic over the 256 levels of an 8-bit pixel, in nats (Salimans et al. 2017, PixelCNN++).

Levels are v / 255 in [0, 1]. A level's probability is the logistic's mass between half a level below and half a level
above it; the first and the last take the tails.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LEVELS = 256
HALF_LEVEL = 0.5 / (LEVELS - 1)


class Score(NamedTuple):
    """Derivatives of log P(x)."""

    by_mean: Float[Tensor, "*shape"]
    by_log_scale: Float[Tensor, "*shape"]


def log_mass(
    x: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """log P(x) of one logistic, x a level; any shapes that broadcast.

    Between the ends it is log(sigmoid(b) − sigmoid(a)) at the two borders b > a, computed as
    logsigmoid(b) + logsigmoid(−a) + log(1 − exp(a − b)): no difference of nearly equal numbers, so no floor is needed.
    """
    inverse_scale = torch.exp(-log_scale)
    lower, upper = _borders(x, mean, inverse_scale)
    below, above = functional.logsigmoid(upper), functional.logsigmoid(-lower)
    between = below + above + torch.log(-torch.expm1(-2 * HALF_LEVEL * inverse_scale))
    return torch.where(x < HALF_LEVEL, below, torch.where(x > 1 - HALF_LEVEL, above, between))


def score(x: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"]) -> Score:
    """The derivatives of `log_mass`, term by term.

    At the borders b > a, in units of the scale: logsigmoid(b) has sigmoid(−b) · (−1/scale, −b), logsigmoid(−a) has
    sigmoid(a) · (1/scale, a), and log(1 − exp(−w)) with w = b − a has (0, −w / (exp(w) − 1)), computed as
    −w/2 · (coth(w/2) − 1), which keeps its digits for small w.
    """
    inverse_scale = torch.exp(-log_scale)
    lower, upper = _borders(x, mean, inverse_scale)
    half_width = HALF_LEVEL * inverse_scale
    first, last = x < HALF_LEVEL, x > 1 - HALF_LEVEL  # their mass has one border
    of_lower = torch.where(first, 0.0, torch.sigmoid(lower))
    of_upper = torch.where(last, 0.0, torch.sigmoid(-upper))
    of_width = torch.where(first | last, 0.0, half_width - half_width / torch.tanh(half_width))
    return Score((of_lower - of_upper) * inverse_scale, of_lower * lower - of_upper * upper + of_width)


def _borders(x: Tensor, mean: Tensor, inverse_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Half a level below and above x, in units of the scale from the mean."""
    return (x - HALF_LEVEL - mean) * inverse_scale, (x + HALF_LEVEL - mean) * inverse_scale
