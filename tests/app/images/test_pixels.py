from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.images.pixels import contact_sheet, observe, to_bytes, to_floats
from app.manifest import ImageSpace, PixelRange

UNIT = PixelRange(low=0, high=1)
SIGNED = PixelRange(low=-1, high=1)
EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


@given(low=st.floats(-100, 100), width=st.floats(0.01, 500))
def test_bytes_survive_the_way_there_and_back(low: float, width: float) -> None:
    pixel_range = PixelRange(low=low, high=low + width)
    np.testing.assert_array_equal(to_bytes(to_floats(EVERY_BYTE, pixel_range), pixel_range), EVERY_BYTE)


def test_floats_are_linear_between_the_ends() -> None:
    floats = to_floats(np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1), SIGNED)
    np.testing.assert_allclose(floats.ravel(), [-1, -0.6, 1], atol=1e-7)
    assert floats.dtype == np.float32


def test_bytes_are_clipped_and_rounded_with_halves_upwards() -> None:
    values = np.array([-3, 0, 0.5 / 255, 0.49 / 255, 1.5 / 255, 1, 7], np.float32).reshape(1, 1, 1, 7)
    assert to_bytes(values, UNIT).ravel().tolist() == [0, 0, 1, 0, 2, 255, 255]


def test_channels_move_last_and_back() -> None:
    images = np.zeros((2, 3, 4, 5), np.float32)
    images[1, 2, 3, 4] = 1
    pictures = to_bytes(images, UNIT)
    assert pictures.shape == (2, 4, 5, 3)
    assert pictures[1, 3, 4, 2] == 255
    assert pictures.sum() == 255
    np.testing.assert_array_equal(to_floats(pictures, UNIT), images)


@pytest.mark.parametrize(("threshold", "first_bright"), [(0.5, 128), (0.2, 51), (0.999, 255)])
def test_threshold_observation_sends_pixels_to_the_ends(threshold: float, first_bright: int) -> None:
    space = ImageSpace(
        height=16, width=16, channels=1, pixel_range=SIGNED, observation="threshold", threshold=threshold
    )
    observed = observe(EVERY_BYTE, space).ravel()
    np.testing.assert_array_equal(observed, np.where(np.arange(256) >= first_bright, 1, -1))


def test_unit_interval_observation_is_the_linear_map() -> None:
    space = ImageSpace(height=16, width=16, channels=1, pixel_range=SIGNED)
    np.testing.assert_array_equal(observe(EVERY_BYTE, space), to_floats(EVERY_BYTE, SIGNED))


@pytest.mark.parametrize(
    ("count", "columns", "rows_and_columns"),
    [(1, None, (1, 1)), (4, None, (2, 2)), (5, None, (2, 3)), (16, None, (4, 4)), (5, 2, (3, 2)), (3, 99, (1, 3))],
)
def test_contact_sheet_lays_pictures_in_reading_order(
    count: int, columns: int | None, rows_and_columns: tuple[int, int]
) -> None:
    pictures = np.random.default_rng(0).integers(1, 256, (count, 2, 3, 3), np.uint8)
    sheet = contact_sheet(pictures, columns)
    rows, across = rows_and_columns
    assert sheet.shape == (rows * 2, across * 3, 3)
    cells = [sheet[r * 2 : r * 2 + 2, c * 3 : c * 3 + 3] for r in range(rows) for c in range(across)]
    np.testing.assert_array_equal(cells[:count], pictures)
    assert not np.any(cells[count:])
