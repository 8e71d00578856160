"""Trainings that a test ends in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.loops.checkpoint import Checkpoint, save_checkpoint


class Killed(Exception):
    """What a test's training dies of."""


def dying_after(step: int) -> Callable[[Path, Checkpoint], None]:
    """A `save_checkpoint` that raises Killed once the state of `step` is on the disk."""

    def save_and_die(path: Path, state: Checkpoint) -> None:
        save_checkpoint(path, state)
        if state["step"] == step:
            raise Killed

    return save_and_die
