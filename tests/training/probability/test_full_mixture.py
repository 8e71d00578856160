from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from training.probability.full_mixture import FullCovarianceMixture

SIZE, COMPONENTS = 3, 4


@pytest.fixture
def reference() -> MixtureSameFamily:
    """A random mixture as PyTorch has it, in double precision."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(COMPONENTS, SIZE, SIZE, generator=draw, dtype=torch.double)
    means = 3 * torch.randn(COMPONENTS, SIZE, generator=draw, dtype=torch.double)
    parts = MultivariateNormal(means, root @ root.mT + 0.2 * torch.eye(SIZE, dtype=torch.double))
    return MixtureSameFamily(Categorical(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.double)), parts)


@pytest.fixture
def mixture(reference: MixtureSameFamily) -> FullCovarianceMixture:
    parts, weights = reference.component_distribution, reference.mixture_distribution
    assert isinstance(parts, MultivariateNormal)
    assert isinstance(weights, Categorical)
    return FullCovarianceMixture(parts.loc, parts.scale_tril, weights.probs.log())


def test_density_is_that_of_pytorch(mixture: FullCovarianceMixture, reference: MixtureSameFamily) -> None:
    points = 4 * torch.randn(5, 6, SIZE, dtype=torch.double)
    torch.testing.assert_close(mixture.log_density(points), reference.log_prob(points))


def test_draws_have_the_moments_of_the_mixture(mixture: FullCovarianceMixture, reference: MixtureSameFamily) -> None:
    noise = torch.randn(200_000, mixture.noise_size, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    drawn = mixture.from_noise(noise)
    torch.testing.assert_close(drawn.mean(dim=0), reference.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(dim=0), reference.variance, atol=0, rtol=0.02)


def test_first_number_chooses_a_component_as_often_as_it_weighs(mixture: FullCovarianceMixture) -> None:
    chooser = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    centres = mixture.from_noise(torch.cat([chooser, torch.zeros(100_000, SIZE, dtype=torch.double)], dim=1))
    for mean, weight in zip(mixture.means, (0.1, 0.2, 0.3, 0.4), strict=True):
        assert float((centres == mean).all(dim=1).double().mean()) == pytest.approx(weight, abs=0.006)


def test_unfitted_mixture_is_one_standard_normal(reference: MixtureSameFamily) -> None:
    points = torch.randn(7, SIZE)
    normal = MultivariateNormal(torch.zeros(SIZE), torch.eye(SIZE))
    torch.testing.assert_close(FullCovarianceMixture.unfitted(5, SIZE).log_density(points), normal.log_prob(points))
