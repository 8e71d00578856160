"""The images that a run is watched by, and the way between pictures and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import to_bytes, to_floats
from app.manifest import PixelRange
from training.data.datasets import DataSplits

PIXELS = PixelRange(low=0.0, high=1.0)
WATCHED_IMAGES = 1000
SHOWN = 64
"""How many images a grid of samples or reconstructions holds."""


class Watched(NamedTuple):
    """Validation images as tensors, with their labels and what these are called."""

    image: Float[Tensor, "batch c h w"]
    labels: NDArray[np.int64] | None
    classes: Sequence[str] | None

    @classmethod
    def of(cls, data: DataSplits, coin: torch.Generator | None) -> Watched:
        """The first validation images, on the CPU: always the same ones."""
        images = data.validation.take(np.arange(min(WATCHED_IMAGES, len(data.validation))))
        return cls(observed(images.pictures, coin), images.labels, data.classes)


def observed(pictures: NDArray[np.uint8], coin: torch.Generator | None) -> Float[Tensor, "batch c h w"]:
    """Pictures (B, H, W, C) as the x that is modelled: pixels in [0, 1], or coins tossed with them as odds."""
    image = torch.from_numpy(to_floats(pictures, PIXELS))
    return image if coin is None else torch.bernoulli(image, generator=coin)


def as_pictures(image: Float[Tensor, "batch c h w"]) -> NDArray[np.uint8]:
    """Tensors of pixels in [0, 1] as pictures (B, H, W, C)."""
    return to_bytes(image.float().cpu().numpy(), PIXELS)


def as_points(codes: Float[Tensor, "batch size"]) -> NDArray[np.float32]:
    """Codes for drawing."""
    points: NDArray[np.float32] = codes.float().cpu().numpy()
    return points
