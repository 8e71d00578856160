"""The losses are held to what the game's theory says of two known distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from training.gan.objective import (
    PerExample,
    feature_matching_loss,
    game,
    hinge_discriminator_loss,
    hinge_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from training.gan_sections import GanObjectiveKind

# p is the distribution of real images and q of generated ones, over four possible images.
P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
LOG_RATIO = (P / Q).log()
SIGN = (P - Q).sign()

_DiscriminatorLoss = Callable[[PerExample, PerExample], PerExample]

KINDS: tuple[GanObjectiveKind, ...] = get_args(GanObjectiveKind)


def test_minimax_at_its_optimum_measures_the_jensen_shannon_divergence() -> None:
    mixture = (P + Q) / 2
    jensen_shannon = (_kl(P, mixture) + _kl(Q, mixture)) / 2
    value = _expected_discriminator_loss(minimax_discriminator_loss, LOG_RATIO, P, Q)
    torch.testing.assert_close(value, math.log(4) - 2 * jensen_shannon)


def test_hinge_at_its_optimum_measures_the_total_variation() -> None:
    total_variation = (P - Q).abs().sum() / 2
    value = _expected_discriminator_loss(hinge_discriminator_loss, SIGN, P, Q)
    torch.testing.assert_close(value, 2 - 2 * total_variation)


@pytest.mark.parametrize(
    ("loss", "optimum"), [(minimax_discriminator_loss, LOG_RATIO), (hinge_discriminator_loss, SIGN)]
)
def test_discriminator_loss_is_least_at_its_optimum(loss: _DiscriminatorLoss, optimum: Tensor) -> None:
    least = _expected_discriminator_loss(loss, optimum, P, Q)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        elsewhere = optimum + torch.randn(4, generator=generator, dtype=torch.float64)
        assert _expected_discriminator_loss(loss, elsewhere, P, Q) > least


def test_minimax_generator_descends_twice_the_jensen_shannon_divergence() -> None:
    ours = _slope(lambda q: (q * minimax_generator_loss(LOG_RATIO)).sum())
    theory = _slope(lambda q: _kl(P, (P + q) / 2) + _kl(q, (P + q) / 2))
    torch.testing.assert_close(ours, theory)


def test_non_saturating_generator_descends_reverse_kl_less_twice_the_jensen_shannon_divergence() -> None:
    ours = _slope(lambda q: (q * non_saturating_generator_loss(LOG_RATIO)).sum())
    theory = _slope(lambda q: _kl(q, P) - _kl(P, (P + q) / 2) - _kl(q, (P + q) / 2))
    torch.testing.assert_close(ours, theory)


def test_hinge_generator_descends_twice_the_total_variation() -> None:
    ours = _slope(lambda q: (q * hinge_generator_loss(SIGN)).sum())
    theory = _slope(lambda q: (P - q).abs().sum())
    torch.testing.assert_close(ours, theory)


def test_minimax_generator_saturates_where_the_discriminator_is_sure_and_its_remedy_does_not() -> None:
    sure = torch.tensor([-30.0])
    assert _gradient(minimax_generator_loss, sure).abs() < 1e-12
    torch.testing.assert_close(_gradient(non_saturating_generator_loss, sure), torch.tensor([-1.0]))
    torch.testing.assert_close(_gradient(hinge_generator_loss, sure), torch.tensor([-1.0]))


def test_minimax_losses_are_the_cross_entropies_of_the_two_labels() -> None:
    real, fake = torch.tensor([-3.0, 0.0, 2.0]), torch.tensor([1.0, -0.5, 4.0])
    ones, zeros = torch.ones(3), torch.zeros(3)
    crossed = binary_cross_entropy_with_logits(real, ones, reduction="none") + binary_cross_entropy_with_logits(
        fake, zeros, reduction="none"
    )
    torch.testing.assert_close(minimax_discriminator_loss(real, fake), crossed)


def test_hinge_discriminator_ignores_images_beyond_the_margin() -> None:
    real, fake = torch.tensor([1.0, 2.0, 0.5, -1.0]), torch.tensor([-1.0, -3.0, -1.0, 0.0])
    torch.testing.assert_close(hinge_discriminator_loss(real, fake), torch.tensor([0.0, 0.0, 0.5, 3.0]))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_stay_finite_at_extreme_logits(kind: GanObjectiveKind) -> None:
    played = game(kind)
    logits = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    losses = torch.cat([played.generator_loss(-logits, logits), played.discriminator_loss(logits, -logits)])
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()


def test_feature_matching_is_the_squared_distance_of_mean_features() -> None:
    real, fake = torch.randn(5, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    wanted = np.mean((real.numpy().mean(axis=0) - fake.numpy().mean(axis=0)) ** 2)
    torch.testing.assert_close(feature_matching_loss(real, fake).item(), float(wanted))
    torch.testing.assert_close(feature_matching_loss(real, real.flip(0)).item(), 0.0)


def test_game_of_the_non_saturating_kind_changes_the_generators_loss_alone() -> None:
    assert game("non_saturating").discriminator_loss is game("minimax").discriminator_loss
    logits = torch.linspace(-2, 2, 5)
    generators = [game(kind).generator_loss(logits, logits) for kind in ("non_saturating", "minimax")]
    torch.testing.assert_close(generators[0], generators[1] + 2 * softplus(logits) - logits)


def _kl(left: Tensor, right: Tensor) -> Tensor:
    return (left * (left / right).log()).sum()


def _expected_discriminator_loss(loss: _DiscriminatorLoss, logits: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    pairs = torch.cartesian_prod(logits, logits)
    return (torch.outer(real, fake).flatten() * loss(pairs[:, 0], pairs[:, 1])).sum()


def _slope(value: Callable[[Tensor], Tensor]) -> Tensor:
    """The derivative at Q along the simplex: a probability can only move by moving elsewhere."""
    q = Q.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(q), q)
    return gradient - gradient.mean()


def _gradient(loss: Callable[[PerExample], PerExample], logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits).sum(), logits)
    return gradient
