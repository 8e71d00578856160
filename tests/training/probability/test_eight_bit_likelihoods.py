"""Likelihoods of grey levels: discrete ones against sums over all levels, a continuous one against integrals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, ContinuousBernoulli
from torch.testing import assert_close

from app.manifest import LikelihoodKind
from training.probability import continuous_bernoulli, discretised_logistic
from training.probability.discretised_logistic import LEVELS
from training.probability.likelihood import COMPONENTS, LogisticMixtureLikelihood, make_likelihood

LEVEL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
DISCRETE: list[LikelihoodKind] = ["logistic_mixture", "categorical"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("logit", [-80.0, -3.0, -0.11, -0.05, -1e-4, 0.0, 1e-3, 0.09, 0.5, 12.0, 300.0])
def test_continuous_bernoulli_integrates_to_one_around_its_mean(logit: float) -> None:
    x = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    logits = torch.tensor(logit, dtype=torch.float64)
    density = continuous_bernoulli.log_density(x, logits).exp()
    assert float(density.mean()) == pytest.approx(1, abs=1e-4)
    assert float((x * density).mean()) == pytest.approx(float(continuous_bernoulli.mean(logits)), abs=1e-5)


def test_continuous_bernoulli_is_that_of_torch_distributions() -> None:
    x, logits = torch.rand(200, dtype=torch.float64), 4 * torch.randn(200, dtype=torch.float64)
    assert_close(
        continuous_bernoulli.log_density(x, logits), ContinuousBernoulli(logits=logits).log_prob(x), atol=1e-4, rtol=0
    )


def test_continuous_bernoulli_has_finite_gradients_everywhere() -> None:
    logits = torch.tensor([-1e4, -0.1, 0.0, 0.1, 1e4], requires_grad=True)
    (
        continuous_bernoulli.log_density(torch.full((5,), 0.3), logits) + continuous_bernoulli.mean(logits)
    ).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("mean", "log_scale"), [(0.3, -3.0), (0.0, -7.0), (1.2, -2.0), (-3.0, -5.0), (0.5, 2.0)])
def test_logistic_masses_sum_to_one_and_stay_finite(mean: float, log_scale: float) -> None:
    masses = discretised_logistic.log_mass(LEVEL.float(), torch.tensor(mean), torch.tensor(log_scale))
    assert masses.isfinite().all()
    assert_close(masses.double().exp().sum(), torch.tensor(1.0).double(), atol=1e-5, rtol=0)


def test_logistic_mass_of_a_level_is_the_difference_of_the_distribution_function_at_its_borders() -> None:
    mean, scale = 0.4, 0.05
    borders = torch.sigmoid((torch.arange(1, LEVELS).double() - 0.5 - mean * 255) / (255 * scale))
    whole = torch.cat([torch.zeros(1).double(), borders, torch.ones(1).double()])
    found = discretised_logistic.log_mass(LEVEL, torch.tensor(mean), torch.tensor(math.log(scale)))
    assert_close(found.exp(), whole.diff())


@pytest.mark.parametrize("kind", DISCRETE)
def test_masses_of_a_grey_pixel_sum_to_one(kind: LikelihoodKind) -> None:
    output = _output(kind, 1, 1)
    found = make_likelihood(kind, 1).double().log_density(LEVEL.reshape(LEVELS, 1, 1, 1), output)
    assert_close(found.double().exp().sum(), torch.tensor(1.0).double(), atol=1e-4, rtol=0)


def test_masses_of_a_colour_pixel_sum_to_one_over_every_channel() -> None:
    """Blue given red and green sums to one at any red and green: the coefficients only move its mean."""
    likelihood, output = LogisticMixtureLikelihood(3), _output("logistic_mixture", 3, 1)
    few = LEVEL[::5].float()
    colours = torch.cartesian_prod(few[:2], few[:2], LEVEL.float())
    blue = likelihood.log_density(colours.reshape(-1, 3, 1, 1), output).reshape(2, 2, LEVELS).logsumexp(dim=2)
    green = torch.cartesian_prod(few[:2], LEVEL.float(), LEVEL.float())
    total = likelihood.log_density(green.reshape(-1, 3, 1, 1), output).reshape(2, -1).logsumexp(dim=1)
    assert (blue.exp().sum(dim=1) < total.exp()).all()
    reds = torch.stack([_red_mass(output, level) for level in few[:2]])
    assert_close(total.exp(), reds, rtol=1e-3, atol=1e-6)


def test_categorical_is_that_of_torch_distributions() -> None:
    x, output = _levels(2, 3, 4), _output("categorical", 3, 4, batch=(2, 5))
    found = make_likelihood("categorical", 3).log_density(x[:, None], output)
    logits = output.unflatten(-3, (3, LEVELS)).movedim(-3, -1)
    wanted = Categorical(logits=logits).log_prob((x[:, None] * 255).round()).sum(dim=(2, 3, 4))
    assert_close(found, wanted)


@pytest.mark.parametrize(("kind", "channels"), [("logistic_mixture", 1), ("logistic_mixture", 3), ("categorical", 3)])
def test_rows_and_draws_are_scored_by_themselves(kind: LikelihoodKind, channels: int) -> None:
    likelihood, x, output = make_likelihood(kind, channels), _levels(2, channels, 4), _output(kind, channels, 4, (2, 5))
    whole = likelihood.log_density(x[:, None], output)
    assert whole.shape == (2, 5)
    assert_close(likelihood.log_density(x[1], output[1, 3]), whole[1, 3])


@pytest.mark.parametrize("kind", DISCRETE)
def test_mean_of_a_grey_pixel_is_the_average_over_its_levels(kind: LikelihoodKind) -> None:
    likelihood, output = make_likelihood(kind, 1), _output(kind, 1, 1) * 0.2
    if kind == "logistic_mixture":  # narrow components within the range, whose tails the mean leaves out
        output[2 * COMPONENTS :] -= 3
    masses = likelihood.log_density(LEVEL.float().reshape(LEVELS, 1, 1, 1), output).exp()
    assert float(likelihood.mean(output)) == pytest.approx(float((LEVEL * masses).sum()), abs=3e-3)


def test_mean_of_a_colour_picture_lies_in_the_range_of_pixels() -> None:
    mean = LogisticMixtureLikelihood(3).mean(5 * _output("logistic_mixture", 3, 4, (7,)))
    assert mean.shape == (7, 3, 4, 4)
    assert ((mean >= 0) & (mean <= 1)).all()


def _red_mass(output: Tensor, level: Tensor) -> Tensor:
    """The mass of a level of red alone, from the parts of the output by hand."""
    parts = output.reshape(10, COMPONENTS)
    masses = discretised_logistic.log_mass(level, parts[1] + 0.5, (parts[4] - 2).clamp(min=-7))
    return torch.logsumexp(torch.log_softmax(parts[0], 0) + masses, 0).exp()


def _output(kind: LikelihoodKind, channels: int, side: int, batch: tuple[int, ...] = ()) -> Tensor:
    outputs = make_likelihood(kind, channels).output_channels(channels)
    return torch.randn(*batch, outputs, side, side)


def _levels(batch: int, channels: int, side: int) -> Tensor:
    return torch.randint(0, LEVELS, (batch, channels, side, side)) / (LEVELS - 1)
