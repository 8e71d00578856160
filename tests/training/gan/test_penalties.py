"""Penalties against critics whose slope is known."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from training.gan.discriminator import Conditioning, ConvolutionalDiscriminator
from training.gan.penalties import clip_weights, dragan_penalty, r1_penalty, r2_penalty, squared_slope, wgan_gp_penalty

IMAGE = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))


def _half_square(image: Tensor) -> Tensor:
    """½ ‖x‖², whose gradient is x."""
    return image.flatten(1).square().sum(dim=1) / 2


def _norms(image: Tensor) -> Tensor:
    return image.flatten(1).norm(dim=1)


def test_zero_centred_penalties_are_half_the_squared_slope() -> None:
    assert_close(r1_penalty(_half_square, IMAGE), _norms(IMAGE) ** 2 / 2)
    assert_close(r2_penalty(_half_square, OTHER), _norms(OTHER) ** 2 / 2)


def test_wgan_gp_looks_between_the_images_of_a_pair() -> None:
    share = torch.tensor([0.0, 0.25, 0.5, 1.0])
    between = share[:, None, None, None] * IMAGE + (1 - share)[:, None, None, None] * OTHER
    assert_close(wgan_gp_penalty(_half_square, IMAGE, OTHER, share), (_norms(between) - 1) ** 2)


def test_dragan_looks_around_real_images_at_half_their_scale() -> None:
    around = IMAGE + IMAGE.std() / 2 * OTHER
    assert_close(dragan_penalty(_half_square, IMAGE, OTHER), (_norms(around) - 1) ** 2)


def test_penalty_s_gradient_reaches_the_critic_s_weights_and_not_the_image() -> None:
    weight, image = torch.tensor(3.0, requires_grad=True), IMAGE.clone().requires_grad_()
    r1_penalty(lambda x: weight * _half_square(x), image).sum().backward()
    assert weight.grad is not None
    assert_close(weight.grad, 3 * (_norms(IMAGE) ** 2).sum())  # of ½ w² ‖x‖²
    assert image.grad is None


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_one_centred_penalty_stays_finite_where_the_slope_is_zero(slope: float) -> None:
    weight = torch.tensor(slope, requires_grad=True)
    penalty = wgan_gp_penalty(lambda x: weight * x.flatten(1)[:, 0], IMAGE, OTHER, torch.rand(4))
    penalty.sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite()
    assert_close(penalty, torch.full((4,), (1 - slope) ** 2), rtol=0, atol=3e-6)


def test_slope_of_a_discriminator_is_that_of_finite_differences() -> None:
    net = ConvolutionalDiscriminator(8, 1, 4).double()
    image = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    direction = torch.autograd.functional.jacobian(lambda x: net(x).sum(), image)
    step = 1e-6 * direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
    with torch.no_grad():
        slope = (net(image + step) - net(image - step)) / 2e-6
    assert_close(squared_slope(net, image), slope**2, rtol=1e-4, atol=1e-12)


def test_clipping_bounds_every_weight_and_leaves_norms_alone() -> None:
    net = ConvolutionalDiscriminator(16, 1, 4, batch_norm=True)
    clip_weights(net, 0.01)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert_close(layer.weight, torch.ones_like(layer.weight))
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.weight.abs().max() <= 0.01
            assert layer.weight.abs().min() < 0.01  # not all at the bound


@pytest.mark.parametrize("condition", ["concatenation", "projection"])
def test_clipping_bounds_what_was_learned_of_classes(condition: Literal["concatenation", "projection"]) -> None:
    net = ConvolutionalDiscriminator(16, 1, 4, conditioning=Conditioning(condition, 3))
    for weight in net.parameters():
        nn.init.uniform_(weight, -1, 1)
    clip_weights(net, 0.01)
    assert_close(torch.stack([weight.abs().max() for weight in net.parameters()]), torch.full((7,), 0.01))


def test_penalty_in_bfloat16_leads_where_that_of_float32_does() -> None:
    torch.manual_seed(0)
    net = ConvolutionalDiscriminator(16, 1, 16)
    real, fake, share = torch.randn(32, 1, 16, 16), torch.randn(32, 1, 16, 16), torch.rand(32)

    def gradient(*, is_bfloat16: bool) -> Tensor:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bfloat16):
            penalty = wgan_gp_penalty(lambda x: net(x).float(), real, fake, share).mean()
        penalty.backward()
        return torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None])

    exact, short = gradient(is_bfloat16=False), gradient(is_bfloat16=True)
    assert torch.cosine_similarity(exact, short, dim=0) > 0.999
    assert_close(short.norm(), exact.norm(), rtol=0.01, atol=0.0)
