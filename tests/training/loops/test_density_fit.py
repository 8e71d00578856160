from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor

from training.config import ConfigError, DensityConfig, density_config
from training.loops.density_fit import FittedDensity, coins, fit_density

FLOW = DensityConfig(kind="flow", couplings=4, hidden=32, epochs=12, batch_size=200)


@pytest.fixture(scope="module")
def features() -> Tensor:
    """Two correlated heaps of different weight, far from the origin and of different scales."""
    draw = np.random.default_rng(0)
    heaps = [
        draw.multivariate_normal([10, 0.1], [[1, 0.03], [0.03, 0.002]], 3000),
        draw.multivariate_normal([14, 0.3], [[2, -0.03], [-0.03, 0.001]], 1000),
    ]
    return torch.from_numpy(draw.permutation(np.concatenate(heaps))).float()


def test_mixture_is_scikit_learn_s(features: Tensor) -> None:
    fitted = fit_density(features[:3000], features[3000:], DensityConfig(components=2))
    points = features.double().numpy()
    wanted = GaussianMixture(2, random_state=0).fit(points[:3000])
    assert fitted.train_log_density_nats == pytest.approx(wanted.score(points[:3000]), abs=1e-3)
    assert fitted.validation_log_density_nats == pytest.approx(wanted.score(points[3000:]), abs=1e-3)


def test_flow_comes_nearer_to_heaps_than_one_gaussian_can(features: Tensor) -> None:
    fitted = fit_density(features[:3000], features[3000:], FLOW)
    train, held_out = features[:3000].numpy(), features[3000:].numpy()
    gaussian = multivariate_normal(train.mean(axis=0), np.cov(train.T)).logpdf(held_out).mean()
    true = GaussianMixture(2, random_state=0).fit(train).score(held_out)
    assert gaussian + 0.1 < fitted.validation_log_density_nats < true + 0.05


def test_flow_s_samples_have_the_moments_of_what_it_was_fitted_to(features: Tensor) -> None:
    prior = fit_density(features[:3000], features[3000:], FLOW).prior
    drawn = prior.from_noise(torch.randn(20_000, prior.noise_size, generator=torch.Generator().manual_seed(0)))
    spread = features.std(dim=0)
    torch.testing.assert_close(drawn.mean(dim=0) / spread, features.mean(dim=0) / spread, atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.std(dim=0), spread, atol=0, rtol=0.15)


@pytest.mark.parametrize("config", [DensityConfig(components=3), FLOW.model_copy(update={"epochs": 1})])
def test_saved_density_is_the_same_when_it_is_read_again(
    features: Tensor, tmp_path: Path, config: DensityConfig
) -> None:
    fitted = fit_density(features[:500], features[500:700], config)
    fitted.save(tmp_path / "density.pt")
    again = FittedDensity.load(tmp_path / "density.pt", 2)
    assert again.as_toml_document() == fitted.as_toml_document()
    torch.testing.assert_close(again.prior.log_density(features), fitted.prior.log_density(features), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("config", "size", "complaint"),
    [
        (DensityConfig(components=31), 2, "31 components cannot be fitted to 30 codes"),
        (FLOW, 1, "a flow couples dimensions"),
    ],
)
def test_what_cannot_be_fitted_is_refused(config: DensityConfig, size: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        fit_density(torch.randn(30, size), torch.randn(30, size), config)


def test_coins_of_binarised_pictures_are_not_the_draws_of_the_fit() -> None:
    config = DensityConfig(seed=3)
    torch.manual_seed(config.seed)  # as a flow's weights begin
    assert not torch.equal(torch.rand(100), torch.rand(100, generator=coins(config)))


def test_options_of_the_command_line_are_read_as_numbers_and_wrong_ones_named() -> None:
    assert density_config({"kind": "flow", "epochs": "3"}) == DensityConfig(kind="flow", epochs=3)
    with pytest.raises(ConfigError, match=r"components: .*got '-1'"):
        density_config({"components": "-1"})
