"""Discriminators of what an encoder says: of pairs of an image and its latent, and of latents alone.

Both read flat rows, so that objectives and penalties are of them what they are of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.gan.discriminator import Discriminator, leaky_stack
from training.nets.dense import ImageShape

Rows = Float[Tensor, "batch numbers"]


def pair_rows(image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch latent"]) -> Rows:
    """An image's pixels, and behind them its latent."""
    return torch.cat([image.flatten(start_dim=1), latent], dim=1)


class LatentDiscriminator(Discriminator):
    """Latent → logit that it is a draw of the prior (Makhzani et al. 2016)."""

    def __init__(self, latent_size: int, hidden: Sequence[int], *, spectral_norm: bool = False) -> None:
        """`hidden` are widths from the latent towards the logit."""
        super().__init__(hidden[-1])
        self.layers = nn.Sequential(*leaky_stack([latent_size, *hidden]))
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Rows) -> Float[Tensor, "batch features"]:
        """The last hidden layer."""
        features: Tensor = self.layers(image)
        return features


class PairDiscriminator(Discriminator):
    """Image and latent → logit that the image is real and the latent the encoder's, and not z and G(z).

    The image's own features stand beside the latent before the last layers (Donahue et al. 2017; Dumoulin et al. 2017,
    section 2.1): the joint distribution of both is told apart, not each by itself.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_size: int,
        of_image: nn.Module,
        image_features: int,
        hidden: Sequence[int],
        *,
        spectral_norm: bool = False,
    ) -> None:
        """`of_image` makes `image_features` numbers of an image; `hidden` are widths from both towards the logit."""
        super().__init__(hidden[-1])
        self.image_shape, self.latent_size = image_shape, latent_size
        self.of_image = of_image
        self.of_both = nn.Sequential(*leaky_stack([image_features + latent_size, *hidden]))
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Rows) -> Float[Tensor, "batch features"]:
        """The last hidden layer."""
        pixels, latent = image.split([math.prod(self.image_shape), self.latent_size], dim=1)
        of_image = self.of_image(pixels.unflatten(1, self.image_shape)).flatten(start_dim=1)
        features: Tensor = self.of_both(torch.cat([of_image, latent.to(of_image.dtype)], dim=1))
        return features
