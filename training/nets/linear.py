"""One linear layer each way."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from training.nets.dense import ImageShape


class LinearEncoder(nn.Module):
    """Image (B, C, H, W) to features (B, F): W x + b."""

    def __init__(self, image_shape: ImageShape, features: int) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(image_shape), features)

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch features"]:
        """The features of each image."""
        features: Tensor = self.head(image.flatten(start_dim=1))
        return features


class LinearDecoder(nn.Module):
    """Latent (B, D) to an unbounded picture (B, C, H, W): a weighted sum of D pictures and a constant one."""

    def __init__(self, image_shape: ImageShape, latent_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(latent_size, math.prod(image_shape))
        self.image_shape = image_shape

    def forward(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """The picture of each latent."""
        picture: Tensor = self.head(latent).unflatten(1, self.image_shape)
        return picture
