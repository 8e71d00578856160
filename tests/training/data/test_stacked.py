from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.config import DataConfig
from training.data.splits import DataError, ImageSet
from training.data.stacked import load_stacked_mnist, stacked


def numbered(count: int) -> ImageSet:
    """Pictures of one grey each, their own number, of the class of its last decimal."""
    numbers = np.arange(count, dtype=np.uint8)
    return ImageSet(np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, 1)), (numbers % 10).astype(np.int64))


def test_class_is_the_number_that_the_channels_show() -> None:
    found = stacked(numbered(200), which=0)
    assert found.pictures.shape == (200, 4, 4, 3)
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, found.pictures[:, 0, 0] % 10 @ np.array([100, 10, 1]))


def test_every_picture_is_once_in_each_channel_and_orders_differ() -> None:
    first, second = (stacked(numbered(200), which=which).pictures[:, 0, 0] for which in (0, 1))
    for channel in range(3):
        assert sorted(first[:, channel].tolist()) == list(range(200))
    columns = [*first.T.tolist(), *second.T.tolist()]
    assert len({tuple(column) for column in columns}) == 6
    np.testing.assert_array_equal(first, stacked(numbered(200), which=0).pictures[:, 0, 0])


def test_grey_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"stacked_mnist\" is of coloured pictures: data.channels = 3"):
        load_stacked_mnist(DataConfig(set="stacked_mnist"), tmp_path)
