"""Rows of `image_to_evidence`: many importance samples an image, cut into rows of few, and put together again. Pure.

Samples of one image do not depend on each other, so an image with more of them than a row may hold becomes several rows
of that image; bounding the rows of a run then bounds its memory too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from app.runtime.batch import Array

SAMPLES_A_ROW = 64
"""Importance samples that a row holds at most. Each row encodes its image again: fewer rows, less of that."""


def fold(images: Array, noise: npt.NDArray[np.float32]) -> dict[str, Array]:
    """Feeds for images (N,C,H,W) with noise (N,K,D): rows of at most 64 samples, the last filled up with zeros."""
    count, samples, size = noise.shape
    pieces = math.ceil(samples / SAMPLES_A_ROW)
    length = math.ceil(samples / pieces)
    filled = np.zeros((count, pieces * length, size), np.float32)
    filled[:, :samples] = noise
    return {"image": np.repeat(images, pieces, axis=0), "noise": filled.reshape(count * pieces, length, size)}


def unfold(terms: Mapping[str, Array], count: int, samples: int) -> dict[str, Array]:
    """The terms (N,K) of `count` images from the terms of their rows."""
    return {name: term.reshape(count, -1)[:, :samples] for name, term in terms.items()}
