from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal
from torch.testing import assert_close

from training.config import PriorConfig
from training.probability.posterior import DiagonalPosterior
from training.probability.prior import (
    FlowPrior,
    GaussianMixturePrior,
    MixturePrior,
    Prior,
    StandardNormalPrior,
    VampPrior,
    make_prior,
)

SIZE, COMPONENTS, DRAWS = 2, 4, 40_000
KINDS = ["standard_normal", "mixture", "vamp", "flow"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one(kind: str) -> None:
    axis = torch.arange(-12, 12, 0.05)
    grid = torch.cartesian_prod(axis, axis)
    assert float(_prior(kind).log_density(grid).exp().sum() * 0.05**2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_becomes_latents_of_that_density(kind: str) -> None:
    """The share of draws in each cell of a grid is the density's integral over it."""
    prior, cell = _prior(kind), 0.5
    latents = prior.from_noise(torch.randn(DRAWS, prior.noise_size))
    axis = torch.arange(-4, 4, 0.05) + 0.025
    fine = prior.log_density(torch.cartesian_prod(axis, axis)).exp().reshape(16, 10, 16, 10)
    wanted = fine.sum(dim=(1, 3)) * 0.05**2
    edges = torch.arange(-4, 4 + cell, cell)
    found = torch.histogramdd(latents, [edges, edges]).hist / DRAWS
    error = (wanted * (1 - wanted) / DRAWS).sqrt() + 1e-4
    assert ((found - wanted).abs() < 5 * error).all()


def test_flow_finds_the_noise_behind_a_latent() -> None:
    prior = _prior("flow")
    assert isinstance(prior, FlowPrior)
    noise = torch.randn(50, SIZE)
    assert_close(prior.to_noise(prior.from_noise(noise)), noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_settled_prior_is_the_same_without_weights(kind: str) -> None:
    prior = _prior(kind)
    settled, noise, latent = prior.settled(), torch.randn(50, prior.noise_size), torch.randn(3, 50, SIZE)
    assert (settled.kind, settled.selectors, settled.noise_size) == (prior.kind, prior.selectors, prior.noise_size)
    assert_close(settled.log_density(latent), prior.log_density(latent), rtol=1e-5, atol=1e-5)
    assert_close(settled.from_noise(noise), prior.from_noise(noise), rtol=1e-5, atol=1e-5)


def test_standard_normal_is_that_of_torch_distributions() -> None:
    latent = torch.randn(3, 4, SIZE)
    wanted = MultivariateNormal(torch.zeros(SIZE), torch.eye(SIZE)).log_prob(latent)
    assert_close(StandardNormalPrior(SIZE).log_density(latent), wanted)


@pytest.mark.parametrize("kind", ["mixture", "vamp"])
def test_mixture_is_that_of_torch_distributions(kind: str) -> None:
    prior, latent = _prior(kind), torch.randn(3, 7, SIZE)
    assert isinstance(prior, MixturePrior)
    means, scales, log_weights = prior.components()
    wanted = MixtureSameFamily(Categorical(logits=log_weights), Independent(Normal(means, scales), 1))
    assert_close(prior.log_density(latent), wanted.log_prob(latent))
    assert_close(log_weights.exp().sum(), torch.tensor(1.0))


def test_linear_flow_is_a_gaussian_in_closed_form() -> None:
    """With couplings that see nothing, z ↦ A z + b: p(z) = N(−A⁻¹ b, (AᵀA)⁻¹)."""
    prior = make_prior(PriorConfig(kind="flow", couplings=3, hidden=4), SIZE, (1, 2, 2), _encode).double()
    with torch.no_grad():
        for name, weight in prior.named_parameters():
            if "body" not in name:
                weight.add_(0.3 * torch.randn_like(weight))
    assert isinstance(prior, FlowPrior)
    origin, corners = torch.zeros(SIZE).double(), torch.eye(SIZE).double()
    offset = prior.flow(origin).value
    matrix = (prior.flow(corners).value - offset).T
    covariance = torch.linalg.inv(matrix.T @ matrix)
    latent = torch.randn(20, SIZE).double()
    wanted = MultivariateNormal(-torch.linalg.solve(matrix, offset), covariance).log_prob(latent)
    assert_close(prior.log_density(latent), wanted)


def test_first_number_alone_chooses_the_component() -> None:
    prior = GaussianMixturePrior(SIZE, COMPONENTS)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    chooser = Normal(0.0, 1.0).icdf(torch.tensor([0.05, 0.2, 0.5, 0.9]))
    latents = prior.from_noise(torch.cat([chooser[:, None], torch.zeros(4, SIZE)], dim=1))
    assert_close(latents, prior.means.detach(), check_stride=False)


def test_vamp_prior_borrows_the_encoder_and_follows_copies_of_the_model() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(4, 2 * SIZE)
            self.prior = VampPrior(SIZE, torch.randn(COMPONENTS, 1, 2, 2), self.posterior)

        def posterior(self, image: Tensor) -> DiagonalPosterior:
            mean, log_scale = self.encoder(image.flatten(1)).chunk(2, dim=1)
            return DiagonalPosterior(mean, log_scale.exp())

    model = Model()
    assert {name for name in model.state_dict() if name.startswith("prior")} == {"prior.pictures"}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.encoder.bias.add_(3)
    latent = torch.randn(5, SIZE)
    assert not torch.allclose(twin.prior.log_density(latent), model.prior.log_density(latent))


def test_vamp_prior_wants_diagonal_posteriors() -> None:
    prior = VampPrior(SIZE, torch.randn(COMPONENTS, 1, 2, 2), lambda image: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="not of NoneTypes"):
        prior.components()


def test_flow_prior_is_computed_in_float32_under_autocast() -> None:
    prior, latent = _prior("flow"), torch.randn(20, SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = prior.log_density(latent)
    assert_close(found, prior.log_density(latent), rtol=0, atol=0)


def _prior(kind: str) -> Prior:
    prior = make_prior(PriorConfig(kind=kind, couplings=2, hidden=6, components=COMPONENTS), SIZE, (1, 2, 2), _encode)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return prior.requires_grad_(requires_grad=False)


def _encode(image: Tensor) -> DiagonalPosterior:
    return DiagonalPosterior(2 * image.flatten(1)[:, :SIZE], 0.5 + image.flatten(1)[:, SIZE:])
