"""Pure functions of the step: learning rates, and the generators that noise is drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer

from training.config import OptimiserConfig, RunConfig
from training.data.batches import epoch_order, steps_per_epoch

FIXED_DRAW = 2**31
"""A step that no run reaches: its generator draws the noise that stays the same over a run."""
OF_LAYERS = 1
"""Mixed into the seed of what layers draw; not 0, which a SeedSequence takes for nothing."""


@dataclass(frozen=True)
class Plan:
    """Which images each step sees, known before the first one."""

    images: int
    batch_size: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, config: RunConfig, images: int) -> Plan:
        """The plan of a run over `images` training images; a set smaller than the batch is one batch."""
        return cls(images, min(config.optimiser.batch_size, images), config.optimiser.epochs, config.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return steps_per_epoch(self.images, self.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def batches(self, *, done_steps: int) -> Iterator[NDArray[np.int64]]:
        """The image numbers of every step that is still to do."""
        for epoch in range(done_steps // self.steps_per_epoch, self.epochs):
            order = epoch_order(self.images, seed=self.seed, epoch=epoch)
            done = max(0, done_steps - epoch * self.steps_per_epoch)
            for position in range(done, self.steps_per_epoch):
                yield order[position * self.batch_size : (position + 1) * self.batch_size]


def learning_rate_factor(config: OptimiserConfig, step: int, total_steps: int) -> float:
    """The learning rate's factor at `step`: 1, or a half cosine from 1 to 0 (Loshchilov & Hutter 2017)."""
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / total_steps))


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def step_generator(seed: int, step: int) -> torch.Generator:
    """The CPU generator of one step."""
    return torch.Generator().manual_seed(_mixed(seed, step))


def seed_layers(seed: int, step: int) -> None:
    """Let layers that draw by themselves (dropout, noise) begin one step, with other numbers than its generator."""
    torch.manual_seed(_mixed(seed, step, OF_LAYERS))


def _mixed(*parts: int) -> int:
    """What draws start from: of seed and step alone, so a resumed run draws what an unbroken one does."""
    mixed = np.random.SeedSequence(parts).generate_state(1, np.uint32)  # PyTorch reads 32 bits of a seed on CPU
    return int(mixed[0])


def precision(config: OptimiserConfig, device: torch.device) -> AbstractContextManager[None]:
    """The nets' arithmetic: plain float32, or bfloat16 where an operation allows it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")
