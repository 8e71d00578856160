"""Generators: latent, and of a conditional model the class → image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.gan.initialisation import initialise
from training.gan.pyramid import pyramid
from training.nets.adjoint import Linearised, linearise
from training.nets.dense import DenseDecoder, ImageShape
from training.nets.labels import Labels, in_domain, of_domain, one_hot


class Generator(nn.Module, ABC):
    """Draws images in [−1, 1] from latents; `classes` are those that it is told apart, 0 where it is told nothing.

    The one-hot class stands behind the latent, so that the first layer learns a vector for each class (Mirza &
    Osindero 2014, figure 1). Where classes are `coupled` domains, the class chooses among the last layers instead, and
    all before them is shared (Liu & Tuzel 2016, section 3): the last layer draws the image in every domain, each in
    channels of its own.
    """

    def __init__(self, latent_size: int, classes: int = 0, *, coupled: bool = False) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.classes = classes
        self.coupled = coupled

    def forward(
        self, latent: Float[Tensor, "batch latent"], label: Labels | None = None
    ) -> Float[Tensor, "batch channels side side"]:
        """Draw each latent: images in [−1, 1]."""
        drawn = self.told(latent, label)
        for layer in self.chain():
            drawn = layer(drawn)
        return self._chosen(drawn, label)

    def linearised(self, latent: Float[Tensor, "batch latent"], label: Labels | None = None) -> Linearised:
        """The image of each latent, and the adjoint there: a cotangent of images (batch, channels, side, side) as one
        of latents (batch, latent). Of what the generator reads, the label's part leads nowhere.
        """
        drawn, pullback = linearise(self, self.told(latent, label))
        return Linearised(
            self._chosen(drawn, label),
            lambda cotangent: pullback(self._drawn_as(cotangent, label))[:, : self.latent_size],
        )

    def told(self, latent: Float[Tensor, "batch latent"], label: Labels | None) -> Float[Tensor, "batch numbers"]:
        """What the first layer reads. Raises ValueError where a label is missing, or is one too many."""
        if (label is None) == bool(self.classes):
            raise ValueError("this generator needs labels" if label is None else "this generator takes no labels")
        return latent if label is None or self.coupled else torch.cat([latent, one_hot(label, self.classes)], dim=1)

    @abstractmethod
    def chain(self) -> tuple[nn.Module, ...]:
        """What happens to that, as layers one after another."""

    def _chosen(self, drawn: Tensor, label: Labels | None) -> Tensor:
        """The image, of all that the last layer draws."""
        return drawn if label is None or not self.coupled else of_domain(drawn, label, self.classes)

    def _drawn_as(self, cotangent: Tensor, label: Labels | None) -> Tensor:
        """A cotangent of the image as one of all that the last layer draws."""
        return cotangent if label is None or not self.coupled else in_domain(cotangent, label, self.classes)


class ConvolutionalGenerator(Generator):
    """Project the latent onto a small feature map and double its side by transposed convolutions (Radford et al. 2016).

    ReLU throughout and tanh at the end, so that images live in [−1, 1]. Batch norm, where wanted, follows every layer
    but the last. The projection is a linear layer and a reshape: the same map as the paper's transposed convolution of
    a 1×1 map, and faster as an exported graph.
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        latent_size: int,
        channels: int,
        *,
        classes: int = 0,
        coupled: bool = False,
        batch_norm: bool = True,
    ) -> None:
        """`channels` is the width at half the image's side; ValueError for a side that doubling 4 … 7 cannot reach."""
        super().__init__(latent_size, classes, coupled=coupled)
        base, widths = pyramid(image_size, channels)
        told, drawn = (0, image_channels * classes) if coupled else (classes, image_channels)
        self.projection = nn.Sequential(
            nn.Linear(latent_size + told, widths[0] * base * base, bias=not batch_norm),
            nn.Unflatten(1, (widths[0], base, base)),
            *_activation(widths[0], batch_norm=batch_norm),
        )
        self.doublings = nn.Sequential(
            *(_doubling(coarse, fine, batch_norm=batch_norm) for coarse, fine in pairwise(widths)),
        )
        self.to_image = nn.Sequential(
            nn.ConvTranspose2d(widths[-1], drawn, kernel_size=4, stride=2, padding=1), nn.Tanh()
        )
        initialise(self)

    def chain(self) -> tuple[nn.Module, ...]:
        """Projection, doublings, image."""
        return self.projection, self.doublings, self.to_image


class DenseGenerator(Generator):
    """Linear layers with ReLU, and tanh at the end, as in the first GANs (Goodfellow et al. 2014, section 5)."""

    def __init__(
        self,
        image_shape: ImageShape,
        latent_size: int,
        hidden: Sequence[int],
        *,
        classes: int = 0,
        coupled: bool = False,
    ) -> None:
        """`hidden` are widths from the image inwards."""
        super().__init__(latent_size, classes, coupled=coupled)
        channels, height, width = image_shape
        told, drawn = (0, channels * classes) if coupled else (classes, channels)
        self.decoder = DenseDecoder((drawn, height, width), hidden, latent_size + told)
        self.squash = nn.Tanh()

    def chain(self) -> tuple[nn.Module, ...]:
        """Hidden layers, picture, tanh."""
        return *self.decoder.chain(), self.squash


def _doubling(coarse: int, fine: int, *, batch_norm: bool) -> nn.Sequential:
    # A bias before a batch norm would be subtracted again with the mean.
    convolution = nn.ConvTranspose2d(coarse, fine, kernel_size=4, stride=2, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, *_activation(fine, batch_norm=batch_norm))


def _activation(width: int, *, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
