"""What a discriminator pays for steepness, per example, and the clipping of weights that came before.

All look at the gradient of the logit in the image, ∇D. Zero-centred penalties (R1, R2) make the game converge near its
solution; one-centred ones (WGAN-GP, DRAGAN) keep the slope near 1 and do not (Mescheder et al. 2018, section 4).
The nets must answer each image alone: with batch norm the gradient would be that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.nets.labels import LabelPicture

Images = Float[Tensor, "batch *shape"]
PerExample = Float[Tensor, " batch"]
Critic = Callable[[Tensor], PerExample]
"""Images to logits."""

LEAST_SQUARED_NORM = 1e-12
"""The slope of a norm is undefined at zero, where a critic may start; below this it is 0."""

DRAGAN_SHARE = 0.5
"""Standard deviation of the noise around real images, in those of the batch's pixels, as in the authors' code."""


def squared_slope(critic: Critic, image: Images) -> PerExample:
    """‖∇D‖² at each image, differentiable in the critic's weights."""
    image = image.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
    return gradient.flatten(start_dim=1).square().sum(dim=1)


def r1_penalty(critic: Critic, real: Images) -> PerExample:
    """½ ‖∇D(x)‖² at real images; times γ it is R1, equation 9 of Mescheder et al. 2018."""
    return squared_slope(critic, real) / 2


def r2_penalty(critic: Critic, fake: Images) -> PerExample:
    """½ ‖∇D(G(z))‖² at generated images; times γ it is R2, equation 10 of Mescheder et al. 2018."""
    return squared_slope(critic, fake) / 2


def wgan_gp_penalty(critic: Critic, real: Images, fake: Images, share: PerExample) -> PerExample:
    """(‖∇D(x̂)‖ − 1)² at x̂ = εx + (1 − ε)G(z), where ε is `share`: equation 3 of Gulrajani et al. 2017."""
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    return _distance_from_unit_slope(critic, share * real + (1 - share) * fake)


def dragan_penalty(critic: Critic, real: Images, noise: Images) -> PerExample:
    """(‖∇D(x + δ)‖ − 1)² around real images: DRAGAN (Kodali et al. 2017).

    δ is `noise`, standard normal, times half the standard deviation of the batch's pixels.
    """
    return _distance_from_unit_slope(critic, real + DRAGAN_SHARE * real.std() * noise)


def clip_weights(net: nn.Module, bound: float) -> None:
    """Bring every number of layers, and of vectors and pictures of classes, within ± `bound` (Arjovsky et al. 2017).

    In place. Norms are left alone: their gains of 1 would be clipped to next to nothing.
    """
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding | LabelPicture):
                for parameter in layer.parameters():
                    parameter.clamp_(-bound, bound)


def _distance_from_unit_slope(critic: Critic, image: Images) -> PerExample:
    slope = squared_slope(critic, image).clamp(min=LEAST_SQUARED_NORM).sqrt()
    return (slope - 1) ** 2
