"""Fully connected encoders and decoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

ImageShape = tuple[int, int, int]
"""Channels, height, width."""


def dense_stack(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths with a ReLU after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class DenseEncoder(nn.Module):
    """Image (B, C, H, W) to features (B, F)."""

    def __init__(self, image_shape: ImageShape, hidden: Sequence[int], features: int) -> None:
        super().__init__()
        self.body = dense_stack([math.prod(image_shape), *hidden])
        self.head = nn.Linear(hidden[-1], features)

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch features"]:
        """The features of each image."""
        features: Tensor = self.head(self.body(image.flatten(start_dim=1)))
        return features


class DenseDecoder(nn.Module):
    """Latent (B, D) to an unbounded picture (B, C, H, W); mirrors `DenseEncoder`."""

    def __init__(self, image_shape: ImageShape, hidden: Sequence[int], latent_size: int) -> None:
        super().__init__()
        self.body = dense_stack([latent_size, *reversed(hidden)])
        self.head = nn.Linear(hidden[0], math.prod(image_shape))
        self.image_shape = image_shape

    def forward(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """The likelihood's parameters for each latent."""
        picture: Tensor = self.head(self.body(latent)).unflatten(1, self.image_shape)
        return picture

    def chain(self) -> tuple[nn.Module, ...]:
        """What `forward` does, as layers one after another."""
        return self.body, self.head, nn.Unflatten(1, self.image_shape)
