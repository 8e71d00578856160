"""Trainings that end when their time is up: what they return, and the clock that they run by."""

from __future__ import annotations

import time
from typing import NamedTuple

from training.gan.discriminator import Discriminator
from training.gan.generator import Generator


class Stopwatch:
    """The time of the processor that this process has used, with one thread: what an idle core's clock would show.

    So a cell that is paused, or shares its core, is not given less.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began, self._wall_began = time.process_time(), time.perf_counter()

    @property
    def cpu_s(self) -> float:
        """So far."""
        return time.process_time() - self._began

    @property
    def wall_s(self) -> float:
        """So far, by the clock on the wall."""
        return time.perf_counter() - self._wall_began

    @property
    def share(self) -> float:
        """Of the time that there is: 1 and more when it is up."""
        return self.cpu_s / self._seconds


class Trained(NamedTuple):
    """What a training leaves."""

    generator: Generator
    discriminator: Discriminator
    steps: int
    images: int
    """Real ones that the discriminator saw."""
    cpu_s: float
    wall_s: float
