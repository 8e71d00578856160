"""Gradients of log densities, written out by hand, against autograd in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.manifest import LikelihoodKind
from training.config import PriorConfig
from training.nets.adjoint import NoAdjoint
from training.probability import bernoulli, continuous_bernoulli, discretised_logistic, gaussian
from training.probability.flow import FlowStep, Reversal
from training.probability.likelihood import Likelihood, make_likelihood
from training.probability.posterior import DiagonalPosterior
from training.probability.prior import Prior, make_prior

SIZE = 5
PRIORS = ["standard_normal", "mixture", "vamp", "flow"]
LIKELIHOODS: list[tuple[LikelihoodKind, int]] = [
    ("bernoulli", 1),
    ("continuous_bernoulli", 3),
    ("gaussian", 1),
    ("logistic_mixture", 1),
    ("logistic_mixture", 3),
    ("categorical", 3),
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("kind", "channels"), LIKELIHOODS)
def test_likelihood_s_score_is_the_gradient_of_its_log_density(kind: LikelihoodKind, channels: int) -> None:
    likelihood, x, output = _scene(kind, channels)
    wanted = torch.autograd.grad(likelihood.log_density(x, output).sum(), output)[0]
    assert_close(likelihood.score(x, output.detach()), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "channels"), LIKELIHOODS)
def test_mean_s_adjoint_is_that_of_autograd(kind: LikelihoodKind, channels: int) -> None:
    likelihood, _, output = _scene(kind, channels)
    mean = likelihood.mean(output)
    cotangent = torch.randn_like(mean)
    value, pullback = likelihood.linearised_mean(output.detach())
    assert_close(value, mean, rtol=0, atol=0)
    assert_close(pullback(cotangent), torch.autograd.grad(mean, output, cotangent)[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", PRIORS)
def test_prior_s_gradient_is_that_of_its_log_density(kind: str) -> None:
    prior, latent = _prior(kind), (2 * torch.randn(3, 4, SIZE)).double().requires_grad_()
    wanted = prior.log_density(latent)
    found = prior.with_gradient(latent.detach())
    assert_close(found.log_density, wanted)
    assert_close(found.gradient, torch.autograd.grad(wanted.sum(), latent)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", PRIORS)
def test_prior_s_gradient_is_a_quotient_of_small_differences(kind: str) -> None:
    prior, latent, step = _prior(kind), torch.randn(SIZE).double(), 1e-5
    nudges = step * torch.eye(SIZE).double()
    wanted = (prior.log_density(latent + nudges) - prior.log_density(latent - nudges)) / (2 * step)
    assert_close(prior.with_gradient(latent).gradient, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("module", [bernoulli, continuous_bernoulli], ids=["Bernoulli", "continuous Bernoulli"])
def test_score_by_the_logit_is_a_quotient_of_small_differences(module: object) -> None:
    x, logits, step = torch.rand(50).double(), torch.linspace(-30, 30, 50).double(), 1e-5
    density = module.log_mass if module is bernoulli else module.log_density  # type: ignore[attr-defined]
    wanted = (density(x, logits + step) - density(x, logits - step)) / (2 * step)
    assert_close(module.score(x, logits), wanted, rtol=1e-6, atol=1e-8)  # type: ignore[attr-defined]


def test_score_of_a_gaussian_by_its_mean_is_a_quotient_of_small_differences() -> None:
    x, mean, scale, step = *torch.randn(2, 50).double(), torch.tensor(0.3).double(), 1e-5
    quotient = (gaussian.log_density(x, mean + step, scale) - gaussian.log_density(x, mean - step, scale)) / (2 * step)
    assert_close(gaussian.score(x, mean, scale), quotient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("logit", [0.0, 1e-6, 0.05, 0.99, 1.01, 5.0, -5.0, 60.0])
def test_variance_of_the_continuous_bernoulli_is_its_second_moment_about_the_mean(logit: float) -> None:
    x = (torch.arange(200_000).double() + 0.5) / 200_000
    density = torch.exp(continuous_bernoulli.log_density(x, torch.tensor(logit).double()))
    mean = (density * x).mean()
    wanted = (density * (x - mean).square()).mean()
    single = torch.tensor(logit)
    assert_close(continuous_bernoulli.variance(single.double()), wanted, rtol=1e-6, atol=0)
    assert_close(continuous_bernoulli.variance(single), wanted.float(), rtol=5e-6, atol=0)


@pytest.mark.parametrize("log_scale", [-6.0, -2.0, 3.0, 12.0])
def test_score_of_a_discretised_logistic_is_that_of_autograd_at_every_level(log_scale: float) -> None:
    x = torch.arange(256).double() / 255
    mean, scale = torch.tensor(0.37).double().requires_grad_(), torch.tensor(log_scale).double().requires_grad_()
    means, scales = mean.expand(256), scale.expand(256)
    log_mass = discretised_logistic.log_mass(x, means, scales)
    wanted = torch.autograd.grad(log_mass.sum(), [means, scales])
    found = discretised_logistic.score(x, means.detach(), scales.detach())
    assert_close(tuple(found), wanted, rtol=1e-8, atol=1e-10)


def test_prior_step_and_likelihood_without_a_gradient_are_refused_by_name() -> None:
    class Strange(Reversal):
        with_adjoint = FlowStep.with_adjoint

    class Odd(Prior):
        log_density = from_noise = lambda _, latent: latent.sum(dim=-1)

    with pytest.raises(NoAdjoint, match="the adjoint of Strange"):
        Strange().with_adjoint(torch.zeros(1, 2))
    with pytest.raises(NoAdjoint, match="the gradient of Odd"):
        Odd(2).with_gradient(torch.zeros(1, 2))
    with pytest.raises(NoAdjoint, match="the score of Likelihood"):
        Likelihood().score(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))


def _scene(kind: LikelihoodKind, channels: int) -> tuple[Likelihood, Tensor, Tensor]:
    """A likelihood, 8-bit pixels with both ends among them, and outputs that reach the clamps."""
    likelihood = make_likelihood(kind, channels).double()
    levels = torch.randint(256, (3, channels, 4, 4))
    levels[0, :, 0], levels[0, :, 1] = 0, 255
    output = 3 * torch.randn(3, likelihood.output_channels(channels), 4, 4, dtype=torch.float64)
    return likelihood, levels.double() / 255, output.requires_grad_()


def _prior(kind: str) -> Prior:
    prior = make_prior(PriorConfig(kind=kind, couplings=2, hidden=6, components=4), SIZE, (1, 2, 5), _encode)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return prior.double().requires_grad_(requires_grad=False)


def _encode(image: Tensor) -> DiagonalPosterior:
    return DiagonalPosterior(2 * image.flatten(1)[:, :SIZE], 0.5 + image.flatten(1)[:, SIZE:])
