"""What is measured of autoencoders: pictures against pictures, and how sparse codes are."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from app.images.pixels import to_bytes, to_floats
from app.manifest import PixelRange
from training.autoencoder.corruption import corrupt
from training.config import CorruptionConfig
from training.evaluation.bounds import Average

UNIT = PixelRange(low=0.0, high=1.0)

Pictures = UInt8[np.ndarray, "n h w c"]


def mean_squared_errors(found: Pictures, wanted: Pictures) -> Average:
    """The mean squared error of each picture, its pixels in [0, 1], averaged."""
    errors = ((found.astype(np.float64) - wanted) / 255) ** 2
    return Average.of(errors.mean(axis=(1, 2, 3)))


def active_numbers(codes: Float32[np.ndarray, "n d"]) -> Average:
    """How many numbers of a code are not zero."""
    return Average.of(np.count_nonzero(codes, axis=1).astype(np.float64))


def corrupted_pictures(pictures: Pictures, config: CorruptionConfig, *, seed: int) -> Pictures:
    """Pictures spoilt as in training, then rounded to 8 bits: what leaves black … white is cut off, as in a file."""
    image = torch.from_numpy(to_floats(pictures, UNIT))
    return to_bytes(corrupt(image, config, torch.Generator().manual_seed(seed)).numpy(), UNIT)
