"""The logistic over the 256 levels of an 8-bit pixel, in nats (Salimans et al. 2017, PixelCNN++).

Levels are v / 255 in [0, 1]. A level's probability is the logistic's mass between half a level below and half a level
above it; the first and the last take the tails.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LEVELS = 256
HALF_LEVEL = 0.5 / (LEVELS - 1)


def log_mass(
    x: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """log P(x) of one logistic, x a level; any shapes that broadcast.

    Between the ends it is log(sigmoid(b) − sigmoid(a)) at the two borders b > a, computed as
    logsigmoid(b) + logsigmoid(−a) + log(1 − exp(a − b)): no difference of nearly equal numbers, so no floor is needed.
    """
    inverse_scale = torch.exp(-log_scale)
    lower, upper = (x - HALF_LEVEL - mean) * inverse_scale, (x + HALF_LEVEL - mean) * inverse_scale
    below, above = functional.logsigmoid(upper), functional.logsigmoid(-lower)
    between = below + above + torch.log(-torch.expm1(-2 * HALF_LEVEL * inverse_scale))
    return torch.where(x < HALF_LEVEL, below, torch.where(x > 1 - HALF_LEVEL, above, between))
