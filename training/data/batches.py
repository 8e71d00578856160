"""In which order a run sees its pictures, and in how many steps. A resumed run sees the same batches."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from training.data.draws import Purpose, bit_generator, permutation


def epoch_order(count: int, *, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    """The order of `count` pictures in one epoch: a permutation that depends on `seed` and `epoch` alone."""
    return permutation(count, bit_generator(seed, Purpose.EPOCH_ORDER, index=epoch))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` pictures. The last partial batch is dropped: with a new order each epoch no
    picture is left out for long, and batch norm never meets a batch of one. A set smaller than a batch is one batch.
    """
    return max(1, count // batch_size)
