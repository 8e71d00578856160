"""The discriminator of a DCGAN: image → how real it looks, as a logit."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from training.gan.initialisation import initialise
from training.gan.pyramid import pyramid

LEAK = 0.2
"""Slope of the leaky ReLU below zero (Radford et al. 2016, section 3)."""


class Discriminator(nn.Module):
    """Halve the side by strided convolutions, leaky ReLU, no pooling, then one linear logit (Radford et al. 2016).

    Batch norm, where wanted, follows every convolution but the first. Spectral norm, where wanted, divides every weight
    by a running estimate of its largest singular value, which bounds the logit's slope (Miyato et al. 2018).
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        channels: int,
        *,
        batch_norm: bool = False,
        spectral_norm: bool = False,
    ) -> None:
        """`channels` is the width at half the image's side; ValueError for a side that cannot be halved to 4 … 7."""
        super().__init__()
        base, widths = pyramid(image_size, channels)
        fine_to_coarse = widths[::-1]
        self.halvings = nn.Sequential(
            _halving(image_channels, fine_to_coarse[0], batch_norm=False),
            *(_halving(fine, coarse, batch_norm=batch_norm) for fine, coarse in pairwise(fine_to_coarse)),
        )
        self.to_logit = nn.Sequential(nn.Flatten(), nn.Linear(widths[0] * base * base, 1), nn.Flatten(0))
        initialise(self)
        if spectral_norm:  # after the initialisation: the estimate of the singular value starts from these weights
            _bound_spectral_norm(self)

    def forward(self, image: Float[Tensor, "batch channels side side"]) -> Float[Tensor, " batch"]:
        """The logit of each image in [−1, 1]: the odds, on a log scale, that it is real."""
        logit: Tensor = self.to_logit(self.halvings(image))
        return logit


def _halving(fine: int, coarse: int, *, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(fine, coarse, kernel_size=4, stride=2, padding=1, bias=not batch_norm)
    norm = [nn.BatchNorm2d(coarse)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(LEAK))


def _bound_spectral_norm(net: nn.Module) -> None:
    for layer in [*net.modules()]:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrizations.spectral_norm(layer)
