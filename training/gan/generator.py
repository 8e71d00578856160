"""The generator of a DCGAN: latent → image."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from training.gan.initialisation import initialise
from training.gan.pyramid import pyramid


class Generator(nn.Module):
    """Project the latent onto a small feature map and double its side by transposed convolutions (Radford et al. 2016).

    ReLU throughout and tanh at the end, so that images live in [−1, 1]. Batch norm, where wanted, follows every layer
    but the last. The projection is a linear layer and a reshape: the same map as the paper's transposed convolution of
    a 1×1 map, and faster as an exported graph.
    """

    def __init__(
        self, image_size: int, image_channels: int, latent_size: int, channels: int, *, batch_norm: bool = True
    ) -> None:
        """`channels` is the width at half the image's side; ValueError for a side that doubling 4 … 7 cannot reach."""
        super().__init__()
        base, widths = pyramid(image_size, channels)
        self.latent_size = latent_size
        self.projection = nn.Sequential(
            nn.Linear(latent_size, widths[0] * base * base, bias=not batch_norm),
            nn.Unflatten(1, (widths[0], base, base)),
            *_activation(widths[0], batch_norm=batch_norm),
        )
        self.doublings = nn.Sequential(
            *(_doubling(coarse, fine, batch_norm=batch_norm) for coarse, fine in pairwise(widths)),
        )
        self.to_image = nn.Sequential(
            nn.ConvTranspose2d(widths[-1], image_channels, kernel_size=4, stride=2, padding=1), nn.Tanh()
        )
        initialise(self)

    def forward(self, latent: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channels side side"]:
        """Draw each latent: images in [−1, 1]."""
        image: Tensor = self.to_image(self.doublings(self.projection(latent)))
        return image

    def chain(self) -> tuple[nn.Module, ...]:
        """What `forward` does, as layers one after another."""
        return self.projection, self.doublings, self.to_image


def _doubling(coarse: int, fine: int, *, batch_norm: bool) -> nn.Sequential:
    # A bias before a batch norm would be subtracted again with the mean.
    convolution = nn.ConvTranspose2d(coarse, fine, kernel_size=4, stride=2, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, *_activation(fine, batch_norm=batch_norm))


def _activation(width: int, *, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
