"""The bootstrap (Efron 1979), by how often a resample holds each image: nothing is copied, and sums become products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from training.data.draws import Purpose, bit_generator
from training.evaluation.protocol import SEED

Counts = Float64[np.ndarray, "resamples n"]


def resample_counts(images: int, resamples: int, *, which: int) -> Counts:
    """How often each of so many images is in each resample of as many, drawn with replacement.

    Sets with the same `which` are resampled alike, others independently.
    """
    generator = np.random.Generator(bit_generator(SEED, Purpose.RESAMPLING, index=which))
    drawn = generator.integers(images, size=(resamples, images))
    return np.stack([np.bincount(row, minlength=images) for row in drawn]).astype(np.float64)


@dataclass(frozen=True)
class Interval:
    """An estimate, and where what it estimates may lie."""

    estimate: float
    low: float
    high: float

    @classmethod
    def basic(cls, estimate: float, resampled: Float64[np.ndarray, " resamples"], *, level: float = 0.95) -> Interval:
        """The basic bootstrap interval (Davison & Hinkley 1997, eq. 5.6): 2θ̂ less the quantiles of the resamples.

        A distance between resamples is too large by about what the distance between samples is: that is taken away.
        """
        outside = (1 - level) / 2
        low, high = np.quantile(resampled, [outside, 1 - outside])
        return cls(estimate, float(2 * estimate - high), float(2 * estimate - low))

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"
