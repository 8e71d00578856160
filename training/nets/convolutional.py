"""Residual convolutional encoders and decoders, without normalisation: an answer never depends on the batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from training.nets.dense import ImageShape

SLOPE = 0.1
"""Of the leaky ReLU: cheaper on a CPU than exponential activations, and bitwise alike at any batch size."""


class ResidualBlock(nn.Module):
    """x + f(x) with two 3×3 convolutions; f starts at zero, so that a deep stack starts as the identity.

    `dropout` is the share of numbers between both that training leaves out (Zagoruyko & Komodakis 2016, section 2.4).
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # it has one
        self.body = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            *([nn.Dropout(dropout)] if dropout else []),
            last,
        )

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """The block's output, of the same shape."""
        out: Tensor = x + self.body(x)
        return out


def sides(side: int, halvings: int) -> list[int]:
    """The side at each resolution, outermost first, halves rounded up: 28 with three halvings is [28, 14, 7, 4]."""
    found = [side]
    for _ in range(halvings):
        found.append(-(-found[-1] // 2))
    return found


def residual_stack(channels: int, blocks: int, dropout: float = 0.0) -> nn.Sequential:
    """`blocks` residual blocks and the activation that closes them."""
    return nn.Sequential(*(ResidualBlock(channels, dropout) for _ in range(blocks)), nn.LeakyReLU(SLOPE))


def upsample(inner: int, outer: int, *, to_side: int, wide: bool = False) -> nn.ConvTranspose2d:
    """A stride-2 transposed convolution onto `to_side`; even sides take an even kernel, so none needs cropping."""
    padding = 2 if wide else 1
    return nn.ConvTranspose2d(inner, outer, 2 * padding + 1 + (to_side % 2 == 0), stride=2, padding=padding)


class ConvolutionalEncoder(nn.Module):
    """Image (B, C, S, S) to features (B, F): a strided convolution and residual blocks at each halving."""

    def __init__(
        self, image_shape: ImageShape, channels: Sequence[int], blocks: int, features: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        inner = sides(image_shape[1], len(channels))[-1]
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], channels[0], 5, stride=2, padding=2)]
        for before, after in pairwise(channels):
            layers += [residual_stack(before, blocks, dropout), nn.Conv2d(before, after, 3, stride=2, padding=1)]
        self.body = nn.Sequential(*layers, residual_stack(channels[-1], blocks, dropout))
        self.head = nn.Linear(channels[-1] * inner**2, features)

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch features"]:
        """The features of each image."""
        features: Tensor = self.head(self.body(image).flatten(start_dim=1))
        return features


class ConvolutionalDecoder(nn.Module):
    """Latent (B, D) to an unbounded picture (B, C, S, S); mirrors `ConvolutionalEncoder`."""

    def __init__(
        self, image_shape: ImageShape, channels: Sequence[int], blocks: int, latent_size: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        outer_sides = sides(image_shape[1], len(channels))
        self.start = (channels[-1], outer_sides[-1], outer_sides[-1])
        self.head = nn.Linear(latent_size, channels[-1] * outer_sides[-1] ** 2)
        layers: list[nn.Module] = []
        for level in range(len(channels) - 1, 0, -1):
            layers += [
                residual_stack(channels[level], blocks, dropout),
                upsample(channels[level], channels[level - 1], to_side=outer_sides[level]),
            ]
        layers += [
            residual_stack(channels[0], blocks, dropout),
            upsample(channels[0], image_shape[0], to_side=image_shape[1], wide=True),
        ]
        self.body = nn.Sequential(*layers)

    def forward(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """The likelihood's parameters for each latent."""
        picture: Tensor = self.body(self.head(latent).unflatten(1, self.start))
        return picture

    def chain(self) -> tuple[nn.Module, ...]:
        """What `forward` does, as layers one after another."""
        return self.head, nn.Unflatten(1, self.start), self.body
