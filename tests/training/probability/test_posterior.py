from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from training.config import PosteriorConfig
from training.probability.posterior import (
    LARGEST_LOG_SCALE,
    SMALLEST_LOG_SCALE,
    DiagonalPosterior,
    FlowPosterior,
    FullCovariancePosterior,
    GaussianPosterior,
    Posterior,
    make_posterior_family,
)

BATCH, SAMPLES, SIZE = 3, 5, 2
KINDS = ["diagonal", "full_covariance", "flow"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_density_of_a_draw_is_the_density_there(kind: str) -> None:
    posterior = _posterior(kind)
    latent, log_density = posterior.draw(_noise())
    assert_close(posterior.log_density(latent), log_density)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_density_of_the_noise_less_the_volume_they_gain(kind: str) -> None:
    """log q(z) = log N(noise; 0, I) − log|det ∂z/∂noise|, with the Jacobian by automatic differentiation."""
    posterior, noise = _posterior(kind), _noise()
    found = posterior.draw(noise).log_density

    def draws(flat: Tensor) -> Tensor:
        return posterior.draw(flat.reshape(noise.shape)).latent.flatten()

    jacobian = torch.autograd.functional.jacobian(draws, noise.flatten())
    for row in range(BATCH * SAMPLES):
        block = slice(row * SIZE, (row + 1) * SIZE)
        volume = torch.linalg.slogdet(jacobian[block, block]).logabsdet
        base = Normal(0.0, 1.0).log_prob(noise.reshape(-1, SIZE)[row]).sum()
        assert_close(base - volume, found.flatten()[row])


@pytest.mark.parametrize("kind", KINDS)
def test_central_draw_is_that_of_no_noise(kind: str) -> None:
    posterior = _posterior(kind)
    assert_close(posterior.central(), posterior.draw(torch.zeros(BATCH, 1, SIZE).double()).latent[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_held_posterior_passes_no_gradient_but_through_the_latent(kind: str) -> None:
    features = _features(kind).requires_grad_()
    posterior = _family(kind)(features)
    latent = posterior.draw(_noise()).latent.detach().requires_grad_()
    held = posterior.held().log_density(latent)
    assert_close(held, posterior.log_density(latent))
    held.sum().backward()
    assert features.grad is None
    assert latent.grad is not None


def test_diagonal_is_that_of_torch_distributions() -> None:
    posterior = _posterior("diagonal")
    assert isinstance(posterior, DiagonalPosterior)
    normal = Independent(Normal(posterior.mean[:, None], posterior.scale[:, None]), 1)
    latent = posterior.draw(_noise()).latent
    assert_close(posterior.log_density(latent), normal.log_prob(latent))
    assert_close(posterior.kl_to_standard_normal(), _kl(Independent(Normal(posterior.mean, posterior.scale), 1)))


def test_full_covariance_is_that_of_torch_distributions() -> None:
    posterior = _posterior("full_covariance")
    assert isinstance(posterior, FullCovariancePosterior)
    assert not torch.allclose(posterior.factor[:, 1, 0], torch.zeros(BATCH).double())
    normal = MultivariateNormal(posterior.mean, scale_tril=posterior.factor)
    latent = posterior.draw(_noise()).latent
    assert_close(posterior.log_density(latent), normal.log_prob(latent.mT.permute(2, 0, 1)).T)
    assert_close(posterior.scale, normal.variance.sqrt())
    assert_close(posterior.kl_to_standard_normal(), _kl(normal))


def test_full_covariance_without_correlations_is_the_diagonal() -> None:
    features = _features("full_covariance")
    features[:, 2 * SIZE :] = 0
    full, diagonal = _family("full_covariance")(features), _family("diagonal")(features[:, : 2 * SIZE])
    for one, other in zip(full.draw(_noise()), diagonal.draw(_noise()), strict=True):
        assert_close(one, other)


def test_flow_looks_at_each_image_by_itself() -> None:
    features = _features("flow")
    family, noise = _family("flow"), _noise()
    whole, part = family(features), family(features[1:2])
    assert isinstance(whole, FlowPosterior)
    for one, other in zip(whole.draw(noise), part.draw(noise[1:2]), strict=True):
        assert_close(one[1:2], other)
    changed = features.clone()
    changed[:, 2 * SIZE :] += 1  # the context alone
    assert not torch.allclose(family(changed).draw(noise).latent, whole.draw(noise).latent)


@pytest.mark.parametrize("kind", ["diagonal", "full_covariance"])
@pytest.mark.parametrize(("says", "log_scale"), [(1e3, LARGEST_LOG_SCALE), (-1e3, SMALLEST_LOG_SCALE)])
def test_scale_is_kept_where_the_exponential_behaves(kind: str, says: float, log_scale: float) -> None:
    features = torch.zeros_like(_features(kind))
    features[:, SIZE : 2 * SIZE] = says
    posterior = _family(kind)(features)
    assert isinstance(posterior, GaussianPosterior)
    assert_close(posterior.scale, torch.full((BATCH, SIZE), log_scale).double().exp())


def _kl(normal: Independent | MultivariateNormal) -> Tensor:
    standard = MultivariateNormal(torch.zeros(BATCH, SIZE).double(), torch.eye(SIZE).double())
    if isinstance(normal, Independent):
        normal = MultivariateNormal(normal.mean, torch.diag_embed(normal.variance))
    return kl_divergence(normal, standard)


def _posterior(kind: str) -> Posterior:
    posterior: Posterior = _family(kind)(_features(kind))
    return posterior


def _family(kind: str) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    family = make_posterior_family(PosteriorConfig(kind=kind, couplings=3, hidden=6), SIZE).double()
    with torch.no_grad():
        for weight in family.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return family


def _features(kind: str) -> Tensor:
    features = make_posterior_family(PosteriorConfig(kind=kind, couplings=3, hidden=6), SIZE).features
    return torch.randn(BATCH, features, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _noise() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(BATCH, SAMPLES, SIZE, generator=generator, dtype=torch.float64)
