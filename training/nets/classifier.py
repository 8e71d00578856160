"""A small convolutional classifier whose last hidden layer is a measure of pictures: the judge of generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.nets.dense import ImageShape

SMALLEST_SIDE = 3
"""Halving stops before the side would fall below it, so that small pictures keep their places."""


class FeatureClassifier(nn.Module):
    """Image (B, C, S, S) with pixels in [0, 1] to logits (B, classes) and features (B, F).

    The features are the last hidden layer's, divided by one number, `scale`: see `settle_scale`.
    """

    scale: Tensor

    def __init__(self, image_shape: ImageShape, classes: int, *, channels: Sequence[int], features: int) -> None:
        super().__init__()
        body, side = _body(image_shape, channels)
        self.body = nn.Sequential(*body, nn.Flatten(), nn.Linear(channels[-1] * side**2, features), nn.ReLU())
        self.head = nn.Linear(features, classes)
        self.register_buffer("scale", torch.ones(()))

    def forward(
        self, image: Float[Tensor, "batch c h w"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch features"]]:
        """The logits and the features of each image."""
        features = self.body(image)
        return self.head(features), features / self.scale

    def settle_scale(self, features: Float[Tensor, "n features"]) -> None:
        """Make the mean square of a feature 1, given the features of training pictures.

        A kernel (x·y/F + 1)³ then weighs its powers alike for every judge; a distance has a unit.
        """
        self.scale.mul_(features.square().mean().sqrt().clamp_min(torch.finfo(features.dtype).tiny))


def _body(image_shape: ImageShape, channels: Sequence[int]) -> tuple[list[nn.Module], int]:
    """Convolutions, each halving the side while it is large enough; and the side that is left."""
    layers: list[nn.Module] = []
    side = image_shape[1]
    for before, after in pairwise((image_shape[0], *channels)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        if side // 2 >= SMALLEST_SIDE:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    return layers, side
