"""Between two Gaussians the optimal discriminator is known: every game is held to the distance that it claims there.

Real images are N(0, 1), generated ones N(μ, 1). Distances are closed forms in μ or scipy's quadrature of their
definitions; expectations of the losses are sums over a fine grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor
from torch.testing import assert_close

from training.gan.objective import game
from training.gan_sections import GanObjectiveKind

MEAN = 0.8
GRID = torch.linspace(-12, 14, 5201, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])
COARSE = GRID[::13]
Distance = Callable[[float], float]


class Theory(NamedTuple):
    """The optimal output as a function of log p/q, the discriminator's mean loss there, what the generator descends.

    Both are functions of μ; what is descended is known up to a constant.
    """

    optimum: Callable[[Tensor], Tensor]
    least_loss: Distance
    descended: Distance


def _kl(mean: float) -> float:
    """Either way round."""
    return mean**2 / 2


def _total_variation(mean: float) -> float:
    return 2 * float(norm.cdf(mean / 2)) - 1


def _squared_hellinger(mean: float) -> float:
    return 2 - 2 * math.exp(-(mean**2) / 8)


def _pearson(mean: float) -> float:
    return math.expm1(mean**2)


def _integral(integrand: Callable[[float, float], float], mean: float) -> float:
    """∫ of a function of the densities p and q."""
    value, _ = quad(lambda x: integrand(norm.pdf(x), norm.pdf(x, mean)), -9, 9 + mean, epsabs=1e-12, epsrel=1e-12)
    return float(value)


def _kl_to_middle(mean: float) -> float:
    """KL(p ‖ m); KL(q ‖ m) is as much, and so is their mean, JS."""
    return _integral(lambda p, q: p * math.log(2 * p / (p + q)), mean)


def _triangular(mean: float) -> float:
    return _integral(lambda p, q: (p - q) ** 2 / (p + q), mean)


def _swapped(mean: float) -> float:
    """JS(p⊗q, q⊗p): of N((0, μ), 1) and N((μ, 0), 1), √2 μ apart, as of Gaussians on a line."""
    return _kl_to_middle(math.sqrt(2) * mean)


def _boundary(mean: float) -> float:
    """½ E_q[log² p/q] − KL(q ‖ p), where log p/q under q is N(−μ²/2, μ²)."""
    return (mean**2 + mean**4 / 4) / 2 - _kl(mean)


THEORIES: dict[GanObjectiveKind, Theory] = {
    "minimax": Theory(lambda r: r, lambda m: math.log(4) - 2 * _kl_to_middle(m), lambda m: 2 * _kl_to_middle(m)),
    "non_saturating": Theory(
        lambda r: r, lambda m: math.log(4) - 2 * _kl_to_middle(m), lambda m: _kl(m) - 2 * _kl_to_middle(m)
    ),
    "least_squares": Theory(
        lambda r: torch.tanh(r / 2),  # (p − q)/(p + q)
        lambda m: 2 - _triangular(m),
        lambda m: 8 * _kl_to_middle(m) - _triangular(m),
    ),
    "hinge": Theory(torch.sign, lambda m: 2 - 2 * _total_variation(m), lambda m: 2 * _total_variation(m)),
    "boundary_seeking": Theory(lambda r: r, lambda m: math.log(4) - 2 * _kl_to_middle(m), _boundary),
    "relativistic": Theory(
        lambda r: r + 3, lambda m: math.log(2) - _swapped(m), lambda m: _kl(m) - _swapped(m)
    ),  # any constant
    "kl": Theory(lambda r: 1 + r, lambda m: -_kl(m), _kl),
    "reverse_kl": Theory(lambda r: r, lambda m: -_kl(m), _kl),
    "pearson": Theory(lambda r: 2 * torch.expm1(r), lambda m: -_pearson(m), _pearson),
    "squared_hellinger": Theory(lambda r: r / 2, lambda m: -_squared_hellinger(m), _squared_hellinger),
    "jensen_shannon": Theory(lambda r: r, lambda m: -2 * _kl_to_middle(m), lambda m: 2 * _kl_to_middle(m)),
    "total_variation": Theory(lambda r: 50 * torch.sign(r), lambda m: -_total_variation(m), _total_variation),
}


every_theory = pytest.mark.parametrize(("kind", "theory"), list(THEORIES.items()), ids=list(THEORIES))


def _density(x: Tensor, mean: float = 0.0) -> Tensor:
    return torch.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def _log_ratio(x: Tensor) -> Tensor:
    """log p/q of N(0, 1) and N(μ, 1)."""
    return MEAN**2 / 2 - MEAN * x


def _pair_mean(values: Callable[[Tensor, Tensor], Tensor], output: Tensor) -> Tensor:
    """E over x from p and G(z) from q of a function of their outputs on the coarse grid: (columns are fake)."""
    table = values(output[:, None], output[None, :])
    step = float(COARSE[1] - COARSE[0])
    return (_density(COARSE) @ table @ _density(COARSE, MEAN)) * step**2


@every_theory
def test_discriminator_at_its_optimum_measures_the_distance_that_it_claims(
    kind: GanObjectiveKind, theory: Theory
) -> None:
    output = theory.optimum(_log_ratio(COARSE))
    found = _pair_mean(game(kind).discriminator_loss, output)
    jumps = kind in ("hinge", "total_variation")  # a sum over a grid errs by half a step there
    assert_close(float(found), theory.least_loss(MEAN), rtol=0, atol=0.02 if jumps else 1e-7)


@every_theory
def test_discriminator_does_worse_anywhere_near_its_optimum(kind: GanObjectiveKind, theory: Theory) -> None:
    output, loss = theory.optimum(_log_ratio(COARSE)), game(kind).discriminator_loss
    least = _pair_mean(loss, output)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        bend = torch.randn(4, generator=generator, dtype=torch.float64)
        elsewhere = output + bend[0] * torch.sin(bend[1] * COARSE + bend[2]) * torch.sigmoid(bend[3] * output)
        assert _pair_mean(loss, elsewhere) >= least


@every_theory
def test_generator_descends_what_it_claims(kind: GanObjectiveKind, theory: Theory) -> None:
    """d/dμ E_q[loss] with the discriminator held, ∂q/∂μ = (x − μ) q, against the slope of the claimed distance."""
    loss = game(kind).generator_loss
    if game(kind).compares:
        output = theory.optimum(_log_ratio(COARSE))
        by_fake = _density(COARSE) @ loss(output[:, None], output[None, :]) * (COARSE[1] - COARSE[0])
        x, values = COARSE, by_fake
    else:
        x, output = GRID, theory.optimum(_log_ratio(GRID))
        values = loss(output, output)
    found = float((values * (x - MEAN) * _density(x, MEAN)).sum() * (x[1] - x[0]))
    step = 1e-3
    wanted = (theory.descended(MEAN + step) - theory.descended(MEAN - step)) / (2 * step)
    assert_close(found, wanted, rtol=2e-3, atol=1e-5)


def test_wasserstein_critic_of_slope_one_measures_the_way_between_the_means() -> None:
    played, critic = game("wasserstein"), -COARSE  # among critics of slope 1 the optimum: real images are to the left
    assert_close(float(_pair_mean(played.discriminator_loss, critic)), -MEAN)
    generator_slope = (played.generator_loss(-GRID, -GRID) * (GRID - MEAN) * _density(GRID, MEAN)).sum() * STEP
    assert_close(float(generator_slope), 1.0)


def test_boundary_seeking_images_stop_where_the_discriminator_cannot_decide() -> None:
    image = torch.tensor([-3.0, MEAN / 2, 5.0], requires_grad=True)
    logits = _log_ratio(image)
    (gradient,) = torch.autograd.grad(game("boundary_seeking").generator_loss(logits, logits).sum(), image)
    assert gradient[0] < 0 < gradient[2]
    assert abs(gradient[1]) < 1e-6
