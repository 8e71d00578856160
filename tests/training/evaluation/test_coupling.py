from __future__ import annotations

import numpy as np
import pytest

from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.domains import Turn, turned
from training.evaluation.coupling import own_nearer


@pytest.mark.parametrize("kind", ["edges", "inverted"])
def test_coupling_is_perfect_where_one_is_the_other_turned_and_chance_where_they_are_strangers(kind: Turn) -> None:
    pictures = load_splits(DataConfig(set="digits", size=8)).train.pictures[:300]
    second = turned(pictures, kind)
    assert own_nearer(pictures, second, kind).mean() > 0.999  # but for pictures that are there twice
    strangers = own_nearer(pictures, np.random.default_rng(0).permutation(second), kind)
    assert strangers.mean() == pytest.approx(0.5, abs=0.05)


def test_coupling_counts_the_others_that_are_further() -> None:
    first = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1)
    second = 255 - np.array([10, 160, 120], np.uint8).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(own_nearer(first, second, "inverted"), [1, 0.5, 0.5])
