"""Our training of a GAN, step by step as `python -m training train` takes them, until the time or the steps are over.

The experiment file's learning rate falls over its epochs. Here it falls over what there is: after each step, the share
of the run that is behind it is the share of the time, or of the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from benchmarks.trainers.timed import Stopwatch, Trained
from training.config import RunConfig
from training.data.splits import DataSplits
from training.gan.objective import game
from training.loops.gan_steps import take_step
from training.loops.gan_training import GanTraining
from training.loops.schedule import Plan

ENDLESS = 10**6
"""Epochs: none of these runs comes so far."""


@dataclass(frozen=True)
class TimedPlan(Plan):
    """A plan whose number of steps is not known before the end, but guessed anew at each step."""

    expected_steps: int = 1

    @property
    def total_steps(self) -> int:
        """As many as there would be, did all steps take as long as those so far."""
        return self.expected_steps

    def after(self, step: int, share: float) -> TimedPlan:
        """The plan, `step` steps into the run, when this share of its time has passed."""
        return replace(self, expected_steps=max(1, round(step / share))) if step else self


def train_ours(config: RunConfig, data: DataSplits, *, seconds: float = math.inf, steps: int | None = None) -> Trained:
    """Train for so many seconds of this process' time on the processor, or so many steps; the averaged generator."""
    training = GanTraining.start(config, torch.device("cpu"), classes=len(data.classes or ()))
    played = game(training.settings.objective.kind)
    plan = TimedPlan(len(data.train), config.optimiser.batch_size, ENDLESS, config.seed)
    watch = Stopwatch(seconds)
    for chosen in plan.batches(done_steps=0):
        if (share := training.step / steps if steps else watch.share) >= 1:
            break
        take_step(training, plan.after(training.step, share), played, data.train.take(chosen))
    cpu_s, wall_s = watch.cpu_s, watch.wall_s
    net = training.averaged()
    images = training.step * config.optimiser.batch_size
    return Trained(net.generator, net.discriminator, training.step, images, cpu_s, wall_s)
