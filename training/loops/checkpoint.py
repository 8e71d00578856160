"""Checkpoints that a kill cannot tear: written beside, synced, then renamed over the last one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

Checkpoint = dict[str, Any]
"""What a loop needs to go on: state dicts of nets, averages and optimisers, and the number of steps done."""


class CheckpointClock:
    """Measures the time that steps take, and says when the next checkpoint is due."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lap_began = self._last_due = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        began, self._lap_began = self._lap_began, time.monotonic()
        return self._lap_began - began

    def due(self) -> bool:
        """True once every `every_s` seconds of laps."""
        if self._lap_began - self._last_due < self._every_s:
            return False
        self._last_due = self._lap_began
        return True


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Replace the checkpoint at `path` in one step; after a crash there is either the old one or the new one."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it is executed."""
    state: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return state


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
