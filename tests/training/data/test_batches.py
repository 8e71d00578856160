from __future__ import annotations

import numpy as np
import pytest

from training.data.batches import epoch_order, steps_per_epoch


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_epoch_order_visits_every_picture_once(count: int) -> None:
    order = epoch_order(count, seed=7, epoch=3)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_epoch_order_depends_on_seed_and_epoch_alone() -> None:
    again = [epoch_order(50, seed=1, epoch=2).tolist() for _ in range(2)]
    others = [epoch_order(50, seed=seed, epoch=epoch).tolist() for seed, epoch in [(1, 3), (2, 2), (2, 1), (0, 0)]]
    assert again[0] == again[1]
    assert all(other != again[0] for other in others)


def test_epoch_order_puts_every_picture_anywhere() -> None:
    """Over many epochs each of 5 pictures comes first a fifth of the time, within 5 standard errors."""
    firsts = np.bincount([epoch_order(5, seed=0, epoch=epoch)[0] for epoch in range(2000)], minlength=5)
    np.testing.assert_allclose(firsts, 400, atol=5 * np.sqrt(2000 * 0.2 * 0.8))


def test_epoch_order_is_that_of_earlier_releases() -> None:
    """A run begun with an older build resumes with the same batches."""
    assert epoch_order(8, seed=1, epoch=0).tolist() == [4, 0, 5, 6, 2, 7, 3, 1]


@pytest.mark.parametrize(
    ("count", "batch_size", "steps"), [(100, 10, 10), (109, 10, 10), (10, 10, 1), (9, 10, 1), (1, 128, 1)]
)
def test_steps_per_epoch_drops_the_partial_batch_but_never_the_only_one(
    count: int, batch_size: int, steps: int
) -> None:
    assert steps_per_epoch(count, batch_size) == steps
