"""Which classes samples are of, as a judge sees them: evenly, as in the data, or some not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from app.manifest import Metric
from training.data.splits import ImageSet
from training.evaluation.judge import Judge

STACKED_SAMPLES = 26_000
"""What published numbers of covered modes are of (Lin et al. 2018)."""

Classes = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Modes:
    """The share of samples in each class."""

    shares: Float64[np.ndarray, " classes"]
    samples: int

    @classmethod
    def of(cls, found: Classes, classes: int) -> Self:
        """From the class that each sample was taken for."""
        return cls(np.bincount(found, minlength=classes) / len(found), len(found))

    @property
    def covered(self) -> int:
        """Classes that some sample is of."""
        return int(np.count_nonzero(self.shares))

    def divergence_nats(self, data: Float64[np.ndarray, " classes"]) -> float:
        """KL(shares ‖ data's shares), as the table of stacked MNIST has it (Lin et al. 2018, PacGAN, section 4.1).

        Infinite where samples are of a class that the data does not have.
        """
        there = self.shares > 0
        with np.errstate(divide="ignore"):
            return float((self.shares[there] * np.log(self.shares[there] / data[there])).sum())


def stacked_classes(judge: Judge, pictures: UInt8[np.ndarray, "n h w 3"]) -> Classes:
    """The class 0 … classes³ − 1 of pictures whose colour channels are a picture each: red counts most."""
    red, green, blue = (judge.look_at(pictures[..., channel, None]).classes for channel in range(3))
    classes = len(judge.card.classes)
    found: Classes = (red * classes + green) * classes + blue
    return found


def stacked_modes(judge: Judge, samples: UInt8[np.ndarray, "n h w 3"], train: ImageSet) -> dict[str, Metric]:
    """How many of the classes samples cover and how evenly, beside as many training pictures, of known classes."""
    classes, count = len(judge.card.classes) ** 3, len(samples)
    if train.labels is None:
        raise ValueError("the training pictures' classes are the floor, and they have none")
    data = np.full(classes, 1 / classes)
    ours, floor = (Modes.of(found, classes) for found in (stacked_classes(judge, samples), train.labels))
    protocol = f"{count:,} samples (seed 0), each channel by {judge.in_words}; as many training images"
    return {
        "covered_modes": Metric(value=ours.covered, unit=f"of {classes:,}", protocol=f"{protocol}: {floor.covered:,}"),
        "mode_divergence_nats": Metric(
            value=round(ours.divergence_nats(data), 5),
            unit="nats, of the samples' classes from even ones",
            protocol=f"{protocol}: {floor.divergence_nats(data):.4g}",
        ),
    }
