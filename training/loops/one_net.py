"""What the loops that train one net with one optimiser share: their state between steps, and the walk through a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.config import RunConfig
from training.loops.averaging import WeightAverage
from training.loops.checkpoint import Checkpoint, CheckpointClock, load_checkpoint, save_checkpoint
from training.loops.journal import Journal
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan, seed_layers

RECORD_EVERY_STEPS = 50


class OneNetTraining:
    """The state of a run: the net, its average, the optimiser and how many steps are behind it."""

    config: RunConfig
    net: nn.Module
    average: WeightAverage[Any]
    optimiser: torch.optim.Adam
    step: int
    train_seconds: float

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "train_seconds": self.train_seconds,
            "net": self.net.state_dict(),
            "average": self.average.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: Checkpoint) -> None:
        """Go on where `checkpoint` left off."""
        self.step = state["step"]
        self.train_seconds = state["train_seconds"]
        self.net.load_state_dict(state["net"])
        self.average.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def walk_through(
    training: OneNetTraining,
    run: RunFolder,
    *,
    images: int,
    resume: bool,
    progress: bool,
    take_step: Callable[[Plan, NDArray[np.int64]], Callable[[], Mapping[str, float]]],
    end_epoch: Callable[[Plan, Journal], None],
) -> None:
    """Take every step that is left of a run on so many images, with its journal and checkpoints.

    `take_step` trains on the images at these indices, and answers how to read its numbers, which is done now and then.
    """
    if resume:
        training.restore(load_checkpoint(run.checkpoint))
    plan = Plan.of(training.config, images)
    clock = CheckpointClock(training.config.checkpoint_every_s)
    with Journal(run.path, plan, done_steps=training.step, progress=progress) as journal:
        for chosen in plan.batches(done_steps=training.step):
            seed_layers(training.config.seed, training.step)
            numbers = take_step(plan, chosen)
            journal.advance()
            if training.step % RECORD_EVERY_STEPS == 0:
                journal.record(training.step, dict(numbers()))
            if training.step % plan.steps_per_epoch == 0:
                end_epoch(plan, journal)
            training.train_seconds += clock.lap()
            if clock.due() or training.step == plan.total_steps:
                save_checkpoint(run.checkpoint, training.checkpoint())
