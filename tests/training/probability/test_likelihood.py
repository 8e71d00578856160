from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal
from torch.testing import assert_close

from training.probability import bernoulli
from training.probability.likelihood import SMALLEST_SCALE, GaussianLikelihood, Likelihood, make_likelihood


def test_bernoulli_log_mass_is_that_of_torch_distributions() -> None:
    logits = torch.randn(50, dtype=torch.float64) * 5
    x = torch.bernoulli(torch.full_like(logits, 0.5))
    assert_close(bernoulli.log_mass(x, logits), Bernoulli(logits=logits).log_prob(x))


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_bernoulli_masses_sum_to_one_and_stay_finite(logit: float) -> None:
    masses = bernoulli.log_mass(torch.tensor([0.0, 1.0]), torch.tensor(logit))
    assert masses.isfinite().all()
    assert_close(masses.exp().sum(), torch.tensor(1.0))


def test_bernoulli_likelihood_sums_each_picture_over_its_pixels_and_channels() -> None:
    x, logits = _picture(binary=True), torch.randn(2, 5, 3, 4, 4)
    found = make_likelihood("bernoulli").log_density(x[:, None], logits)
    assert_close(found, Bernoulli(logits=logits).log_prob(x[:, None].expand_as(logits)).sum(dim=(2, 3, 4)))


def test_gaussian_likelihood_is_a_normal_around_the_shown_picture() -> None:
    likelihood = make_likelihood("gaussian")
    assert isinstance(likelihood, GaussianLikelihood)
    x, output = _picture(binary=False), torch.randn(2, 5, 3, 4, 4)
    wanted = Normal(likelihood.mean(output), likelihood.scale.detach()).log_prob(x[:, None].expand_as(output))
    assert_close(likelihood.log_density(x[:, None], output), wanted.sum(dim=(2, 3, 4)))


def test_gaussian_scale_at_its_best_is_the_root_mean_square_error() -> None:
    """The σ that maximises Σ log N is the RMSE (Rybkin et al. 2021, equation 4)."""
    likelihood = GaussianLikelihood()
    x, output = _picture(binary=False), torch.randn(2, 3, 4, 4)
    error = float((x - likelihood.mean(output)).square().mean().sqrt())
    with torch.no_grad():
        likelihood.log_scale.fill_(torch.tensor(error - SMALLEST_SCALE).log())
    likelihood.log_density(x, output).sum().backward()
    assert likelihood.log_scale.grad is not None
    assert abs(float(likelihood.log_scale.grad)) < 1e-3


def test_gaussian_scale_never_falls_below_one_grey_level() -> None:
    likelihood = GaussianLikelihood()
    with torch.no_grad():
        likelihood.log_scale.fill_(-1e3)
    assert float(likelihood.scale.detach()) == SMALLEST_SCALE


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_log_density_of_a_half_precision_output_is_computed_in_float32(kind: str) -> None:
    output = torch.randn(2, 3, 4, 4)
    found = make_likelihood(kind).log_density(_picture(binary=True), output.bfloat16())
    assert found.dtype == torch.float32
    assert_close(found, make_likelihood(kind).log_density(_picture(binary=True), output.bfloat16().float()))


def test_base_likelihood_has_no_density() -> None:
    with pytest.raises(TypeError, match="Likelihood has no density"):
        Likelihood().log_density(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _picture(*, binary: bool) -> Tensor:
    grey = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return grey.round() if binary else grey
