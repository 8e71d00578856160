"""Counter-based random numbers for data: every draw is a function of its seed and place, not of what was drawn before.

They come from numpy's Philox 4x64 (Salmon et al. 2011) by way of `random_raw`, whose numbers numpy keeps between
versions, which it does not promise for the methods of `Generator`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from jaxtyping import Int64


class Purpose(IntEnum):
    """Keeps the numbers of one use apart from those of another under the same seed. The values are part of the data."""

    EPOCH_ORDER = 1
    BINARISATION = 2
    SPLIT = 3
    EVALUATION = 4
    LABELS = 5
    RESAMPLING = 6
    STACKING = 7
    ARITHMETIC = 8


def bit_generator(seed: int, purpose: Purpose, *, index: int = 0) -> np.random.Philox:
    """The stream of 64-bit numbers that belongs to (`seed`, `purpose`, `index`), from its start."""
    key, counter = np.array([seed, index], np.uint64), np.array([0, 0, 0, purpose], np.uint64)
    return np.random.Philox(key=key, counter=counter)


def permutation(count: int, generator: np.random.Philox) -> Int64[np.ndarray, " count"]:
    """0 … `count`−1 in random order: the order of as many random numbers."""
    return np.argsort(generator.random_raw(count), kind="stable").astype(np.int64)
