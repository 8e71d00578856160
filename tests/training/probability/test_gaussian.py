from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from training.probability import gaussian


def test_log_density_is_that_of_torch_distributions() -> None:
    x, mean, scale = _normals(4, 3, seed=0), _normals(4, 3, seed=1), _normals(3, seed=2).exp()
    assert_close(gaussian.log_density(x, mean, scale), Normal(mean, scale).log_prob(x))


def test_standard_log_density_sums_the_last_axis_alone() -> None:
    x = _normals(5, 2, 7, seed=0)
    assert_close(gaussian.standard_log_density(x), Normal(0.0, 1.0).log_prob(x).sum(dim=-1))


def test_log_density_of_draw_is_the_density_at_the_draw() -> None:
    mean, scale, noise = _normals(6, 4, seed=0), _normals(6, 4, seed=1).exp(), _normals(6, 4, seed=2)
    wanted = Normal(mean, scale).log_prob(mean + scale * noise).sum(dim=-1)
    assert_close(gaussian.log_density_of_draw(noise, scale), wanted)


def test_log_density_of_draw_keeps_the_digits_of_the_noise_beside_a_large_mean() -> None:
    mean, scale, noise = torch.full((50, 32), 3.0), torch.full((50, 32), 1e-3), _normals(50, 32, seed=0).float()
    wanted = Normal(mean.double(), scale.double()).log_prob(mean + scale.double() * noise).sum(dim=-1)
    assert_close(gaussian.log_density_of_draw(noise, scale).double(), wanted, atol=1e-4, rtol=0)


def test_kl_is_that_of_torch_distributions() -> None:
    mean, scale = _normals(5, 3, seed=0), _normals(5, 3, seed=1).exp()
    wanted = kl_divergence(Normal(mean, scale), Normal(torch.zeros(3), torch.ones(3)))
    assert_close(gaussian.kl_per_dimension(mean, scale), wanted.to(mean.dtype))
    assert_close(gaussian.kl_to_standard_normal(mean, scale), wanted.sum(dim=-1).to(mean.dtype))


def test_kl_of_the_prior_to_itself_is_zero() -> None:
    assert_close(gaussian.kl_to_standard_normal(torch.zeros(2, 4), torch.ones(2, 4)), torch.zeros(2))


def test_sampled_kl_has_the_closed_form_as_its_expectation() -> None:
    draws = 20_000
    mean, scale, noise = _normals(1, 3, seed=0), _normals(1, 3, seed=1).exp(), _normals(draws, 3, seed=2)
    sampled = gaussian.log_density_of_draw(noise, scale) - gaussian.standard_log_density(mean + scale * noise)
    error = sampled.std() / draws**0.5
    assert abs(sampled.mean() - gaussian.kl_to_standard_normal(mean, scale)[0]) < 4 * error


def _normals(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
