"""Pictures (uint8, channels last) and image tensors (float32, channels first, in a model's pixel range)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.manifest import ImageSpace, PixelRange

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def to_bytes(images: Floats, pixel_range: PixelRange) -> Bytes:
    """Image tensors (N,C,H,W) as pictures (N,H,W,C).

    Values are clipped to the range, mapped linearly onto 0 … 255 and rounded to the nearest integer, halves upwards.
    Inverts `to_floats` exactly.
    """
    unit = (images - np.float32(pixel_range.low)) / np.float32(pixel_range.high - pixel_range.low)
    levels = np.floor(np.clip(unit, 0, 1) * np.float32(255) + np.float32(0.5))
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


def to_floats(pictures: Bytes, pixel_range: PixelRange) -> Floats:
    """Pictures (N,H,W,C) as image tensors (N,C,H,W): 0 is the low end of the range, 255 the high end."""
    return _in_range(pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255), pixel_range)


def observe(pictures: Bytes, space: ImageSpace) -> Floats:
    """The x (N,C,H,W) that a model's encoder reads and its density scores, by the observation rule of its manifest."""
    if space.observation == "threshold":
        bright = pictures.transpose(0, 3, 1, 2) >= 255 * space.threshold
        return _in_range(bright.astype(np.float32), space.pixel_range)
    return to_floats(pictures, space.pixel_range)


def squared_errors(first: Bytes, second: Bytes) -> npt.NDArray[np.float64]:
    """The mean squared difference (N,) of the pixels in [0, 1] of pictures (N,H,W,C), each with its own counterpart."""
    differences = (first.astype(np.float32) - second.astype(np.float32)) / np.float32(255)
    errors: npt.NDArray[np.float64] = (differences**2).mean(axis=(1, 2, 3), dtype=np.float64)
    return errors


def heat_map(values: Floats) -> Bytes:
    """Numbers (N,H,W) as grey pictures (N,H,W,1): the least of all is white, the greatest black, between linearly."""
    low, high = float(values.min()), float(values.max())
    depth = (high - values.astype(np.float64)) / (high - low) if high > low else np.zeros(values.shape)
    return np.rint(255 * depth).astype(np.uint8)[..., None]


def contact_sheet(pictures: Bytes, columns: int | None = None) -> Bytes:
    """N pictures (N,H,W,C) side by side, row by row, as one (rows·H, columns·W, C); cells left over are black.

    See `sheet_columns` for how many columns there are.
    """
    count, height, width, channels = pictures.shape
    columns = sheet_columns(count, columns)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = pictures
    grid = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def sheet_columns(count: int, columns: int | None) -> int:
    """Columns of a sheet of `count` pictures: what was asked for, never more than pictures; else about square."""
    return min(columns or math.isqrt(count - 1) + 1, count)


def _in_range(unit: Floats, pixel_range: PixelRange) -> Floats:
    low, width = np.float32(pixel_range.low), np.float32(pixel_range.high - pixel_range.low)
    return np.ascontiguousarray(low + width * unit)
