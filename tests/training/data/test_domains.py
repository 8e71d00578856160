from __future__ import annotations

import numpy as np
import pytest

from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.domains import Turn, turned
from training.data.splits import DataSplits


@pytest.fixture(scope="module")
def plain() -> DataSplits:
    return load_splits(DataConfig(set="digits", size=8))


def test_edges_of_a_square_are_the_ring_around_it() -> None:
    picture = np.zeros((1, 7, 7, 1), np.uint8)
    picture[0, 2:5, 2:5] = 200
    ring = np.zeros((7, 7), np.uint8)
    ring[1:6, 1:6] = 200
    ring[2:5, 2:5] = 0
    np.testing.assert_array_equal(turned(picture, "edges")[0, ..., 0], ring)


def test_edges_stay_within_their_picture_and_channel() -> None:
    pictures = np.zeros((3, 5, 5, 2), np.uint8)
    pictures[1, 2, 2, 1] = 255
    edges = turned(pictures, "edges")
    assert not edges[[0, 2]].any()
    assert not edges[..., 0].any()
    assert np.count_nonzero(edges[1, ..., 1]) == 8


def test_inverting_twice_changes_nothing(plain: DataSplits) -> None:
    pictures = plain.test.pictures
    np.testing.assert_array_equal(turned(turned(pictures, "inverted"), "inverted"), pictures)
    np.testing.assert_array_equal(turned(pictures, "inverted").astype(int) + pictures, 255)


@pytest.mark.parametrize("kind", ["edges", "inverted"])
def test_each_picture_is_in_one_domain(plain: DataSplits, kind: Turn) -> None:
    found = load_splits(DataConfig(set="digits", size=8, second_domain=kind))
    assert found.classes == ("original", kind)
    assert found.sha256 != plain.sha256
    for part in ("train", "validation", "test"):
        before, after = getattr(plain, part), getattr(found, part)
        np.testing.assert_array_equal(after.labels, np.arange(len(before)) % 2)
        np.testing.assert_array_equal(after.pictures[::2], before.pictures[::2])
        np.testing.assert_array_equal(after.pictures[1::2], turned(before.pictures[1::2], kind))
