from __future__ import annotations

import numpy as np
import pytest

from training.data import binarise as module
from training.data.binarise import binarise


def test_binarised_pixels_are_on_with_their_grey_as_odds() -> None:
    greys = np.array([0, 1, 64, 128, 254, 255], np.uint8).reshape(6, 1)
    pictures = np.broadcast_to(greys, (40_000, 1, 6, 1))

    coins = binarise(pictures, seed=0)

    assert coins.dtype == np.uint8
    assert coins.shape == pictures.shape
    assert set(np.unique(coins)) == {0, 255}
    odds = greys.ravel() / 255
    standard_error = np.sqrt(odds * (1 - odds) / 40_000)
    assert (np.abs((coins / 255).mean(axis=0).ravel() - odds) <= 5 * standard_error).all()


def test_binarisation_depends_on_the_seed_alone() -> None:
    pictures = np.full((3, 8, 8, 1), 127, np.uint8)
    assert np.array_equal(binarise(pictures, seed=5), binarise(pictures, seed=5))
    assert not np.array_equal(binarise(pictures, seed=5), binarise(pictures, seed=6))


def test_first_pictures_are_binarised_alike_however_long_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.full((5, 8, 8, 3), 127, np.uint8)
    whole = binarise(pictures, seed=1)
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", 100)

    assert np.array_equal(binarise(pictures[:2], seed=1), whole[:2])
    assert np.array_equal(binarise(pictures, seed=1), whole)
