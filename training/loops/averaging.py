"""The exponential moving average of a network, buffers included."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


class WeightAverage(Generic[Net]):
    """Keeps `average` = decay · average + (1 − decay) · net over the steps taken.

    Early on the decay is (1 + t) / (10 + t) where that is smaller, so that the random start is soon forgotten.
    Floating-point buffers (running statistics) are averaged as the weights are; other buffers are copied. Reading the
    average with the raw statistics, or the other way round, is the classic way to spoil a good generator.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.average: Net = copy.deepcopy(net).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, net: Net, step: int) -> None:
        """Take in the network's state after `step` steps (counted from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay > 0 else 0.0
        current = net.state_dict()
        for name, kept in self.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(current[name], 1 - decay)
            else:
                kept.copy_(current[name])
