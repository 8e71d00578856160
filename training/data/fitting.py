"""From pictures of any size to the run's size and channels, by the code that the service reads uploads with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from app.images.png import encode_png
from app.images.raster import read_picture
from app.manifest import ImageSpace, PixelRange
from training.config import DataConfig
from training.data.progress import progress

MAX_PIXELS = 50_000_000
"""Pictures with more are skipped. Large cameras make 50 megapixels; as RGBA that is 200 MB in each reading thread."""


def reading_space(config: DataConfig) -> ImageSpace:
    """What `read_picture` is to make of a picture. Only size, channels and background matter there."""
    return ImageSpace(
        height=config.size,
        width=config.size,
        channels=config.channels,
        pixel_range=PixelRange(low=0.0, high=1.0),
        background=config.background,
    )


def fit(pictures: UInt8[np.ndarray, "n h w 1"], config: DataConfig) -> UInt8[np.ndarray, "n size size c"]:
    """Grey pictures at the run's size and channels; grey is repeated into red, green and blue where C = 3.

    Pictures of another size go through a lossless PNG into the reader of uploads (`app.images.raster.read_picture`,
    which states the rule of resizing), so that a picture of the set looks the same in training and when it is uploaded.
    """
    if pictures.shape[1:3] == (config.size, config.size):
        return np.repeat(pictures, config.channels, axis=-1)
    space = reading_space(config)

    def refit(picture: UInt8[np.ndarray, "h w 1"]) -> UInt8[np.ndarray, "size size c"]:
        return read_picture(encode_png(picture), space, max_pixels=MAX_PIXELS)

    with ThreadPoolExecutor(reader_threads()) as pool:
        return np.stack(list(progress(pool.map(refit, pictures), total=len(pictures), doing="resizing")))


def reader_threads() -> int:
    """Threads that decode pictures. Pillow decodes without the interpreter lock; more than 8 only wait for the disk."""
    return min(8, os.cpu_count() or 1)
