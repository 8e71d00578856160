"""Which of a run's weights are published: those whose samples came nearest to held-out images.

A GAN's losses do not say how good it is, and neither its last weights nor its averaged ones need be its best. Now and
then samples of both are set against validation images by their kernel distance, in the features of a frozen classifier,
and the best weights so far are kept in a file of their own. The samples are of the same latents every time: what
changes is the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import UInt8

from app.manifest import Metric
from training.data.splits import ImageSet
from training.evaluation.bounds import Average
from training.evaluation.judge import Judge
from training.evaluation.kernel_distance import kernel_distance
from training.evaluation.protocol import as_metric
from training.evaluation.published import subset
from training.evaluation.quality import KERNEL_UNIT
from training.loops.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

FIRST_INDEX = 2**20
"""Of the samples that are looked at: far behind those that are measured at publication."""


@dataclass(frozen=True)
class Selected:
    """Weights, the step that they are of, and why they were chosen."""

    weights: Checkpoint
    step: int
    distance: Average
    judge: str
    """The first digits of its sha256."""
    images: int
    """That were compared with as many held-out ones."""
    averaged: bool = True
    """Over the steps until then; otherwise they are what that step left."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `Selection` kept."""
        state = load_checkpoint(path)
        distance = Average(state["kernel_distance"], state["standard_error"])
        return cls(state["weights"], state["step"], distance, state["judge"], state["images"], state["averaged"])

    def metric(self, steps: int) -> Metric:
        """Why these weights, of a run of so many steps, are published."""
        distance = Average(self.distance.mean / KERNEL_UNIT, self.distance.standard_error / KERNEL_UNIT)
        protocol = (
            f"the {'averaged' if self.averaged else 'unaveraged'} weights at step {self.step:,} of {steps:,}, the "
            "least of all that were looked at and so rather too little; "
            f"{self.images:,} samples against as many validation images"
        )
        return as_metric(distance, f"10⁻³ KID-{self.judge}", protocol)

    def save(self, path: Path) -> None:
        """Replace the file in one step."""
        numbers = {"kernel_distance": self.distance.mean, "standard_error": self.distance.standard_error}
        said = {"step": self.step, "averaged": self.averaged, "judge": self.judge, "images": self.images}
        save_checkpoint(path, {"weights": self.weights, **said, **numbers})


class Selection:
    """Looks at samples during a run, and keeps the weights behind the best ones in `path`."""

    def __init__(self, judge: Judge, held_out: ImageSet, path: Path, *, images: int, done_steps: int = 0) -> None:
        self._judge, self._path = judge, path
        self._real = judge.look_at(subset(held_out, images).pictures).features
        self._least = _least_until(path, done_steps)

    @property
    def images(self) -> int:
        """How many samples it wants to see: as many as there are held-out images."""
        return len(self._real)

    @property
    def indices(self) -> range:
        """Of the samples: their latents are `standard_normal(seed, indices, …)`."""
        return range(FIRST_INDEX, FIRST_INDEX + self.images)

    def look(
        self, step: int, weights: Checkpoint, samples: UInt8[np.ndarray, "n h w c"], *, averaged: bool = True
    ) -> dict[str, float]:
        """Judge the samples of `weights` after `step` steps, and keep them if none were better; numbers to record.

        The distance may be negative: it has no bias.
        """
        found = kernel_distance(self._judge.look_at(samples).features, self._real)
        if found.mean < self._least:
            self._least = found.mean
            Selected(weights, step, found, self._judge.code, self.images, averaged).save(self._path)
        name = "kernel_distance" if averaged else "raw_kernel_distance"
        return {name: found.mean, f"{name}_error": found.standard_error}


def _least_until(path: Path, step: int) -> float:
    """The least distance up to a step that a run goes on from; what came later is forgotten, and comes again."""
    if not path.exists():
        return inf
    kept = Selected.load(path)
    if kept.step <= step:
        return kept.distance.mean
    path.unlink()
    return inf
