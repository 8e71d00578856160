from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special, stats

from app.density.bounds import Bounds, Tally, bits_per_dim, bounds

TERMS = arrays.arrays(np.float64, (3, 12), elements=st.floats(-2000, 2000))


def one_dimensional(samples: int, inflation: float, seed: int = 0) -> tuple[Bounds, float]:
    """z ~ N(0, 1), x|z ~ N(z, 1), at x = 1.3: p(x) = N(0, 2), and the posterior is N(x/2, 1/2)."""
    x, scale = 1.3, math.sqrt(0.5) * inflation
    z = np.random.default_rng(seed).normal(x / 2, scale, samples)
    posterior = stats.norm(x / 2, scale).logpdf(z)
    return bounds(stats.norm(z, 1).logpdf(x), stats.norm.logpdf(z), posterior), stats.norm(0, math.sqrt(2)).logpdf(x)


def test_exact_posterior_makes_every_bound_exact() -> None:
    result, log_density = one_dimensional(samples=20, inflation=1.0)
    assert result.elbo_nats == pytest.approx(log_density, abs=1e-12)
    assert result.importance_weighted_nats == pytest.approx(log_density, abs=1e-12)
    assert result.effective_sample_size == pytest.approx(20)
    assert result.standard_error_nats == pytest.approx(0, abs=1e-12)
    assert result.reliable


def test_importance_weighted_bound_reaches_log_density_within_its_error() -> None:
    result, log_density = one_dimensional(samples=20_000, inflation=1.6)
    assert result.standard_error_nats is not None
    assert abs(result.importance_weighted_nats - log_density) < 4 * result.standard_error_nats
    gap = 0.5 * (1.6**2 - 1) - math.log(1.6)  # KL(q‖p(z|x)) of two centred normals
    assert result.inference_gap_nats == pytest.approx(gap, abs=0.02)


def test_standard_error_is_the_spread_over_repetitions() -> None:
    results = [one_dimensional(samples=400, inflation=1.5, seed=seed)[0] for seed in range(300)]
    spread = np.std([result.importance_weighted_nats for result in results], ddof=1)
    claimed = np.mean([result.standard_error_nats for result in results])
    assert claimed == pytest.approx(spread, rel=0.15)


@given(TERMS)
def test_decompositions_hold(terms: np.ndarray) -> None:
    result = bounds(*terms)
    close = {"rel": 1e-9, "abs": 1e-9}
    assert result.elbo_nats == pytest.approx(result.reconstruction_nats - result.kl_nats, **close)
    assert result.elbo_nats == pytest.approx(result.energy_nats + result.entropy_nats, **close)
    assert result.elbo_nats == pytest.approx(result.importance_weighted_nats - result.inference_gap_nats, **close)
    assert result.importance_weighted_nats >= result.elbo_nats
    assert 1 - 1e-9 <= result.effective_sample_size <= 12 + 1e-9


@given(terms=TERMS, cut=st.integers(1, 11))
def test_samples_may_come_in_parts(terms: np.ndarray, cut: int) -> None:
    parts = [Tally.of(*part[:, None, :]) for part in (terms[:, :cut], terms[:, cut:])]
    (merged,) = parts[0].merged(parts[1]).bounds()
    assert asdict(merged) == pytest.approx(asdict(bounds(*terms)), rel=1e-9, abs=1e-9)


def test_tally_of_many_images_is_that_of_each() -> None:
    terms = np.random.default_rng(0).normal(-90, 3, (3, 5, 40))
    assert Tally.of(*terms).bounds() == [bounds(*terms[:, index]) for index in range(5)]
    chosen = np.array([True, False, False, True, False])
    assert Tally.of(*terms).take(chosen).bounds() == [bounds(*terms[:, index]) for index in (0, 3)]


def test_interval_holds_the_density_as_often_as_it_says() -> None:
    """95 times in 100; the bound lies a little low, so that a few fewer do."""
    hits = 0
    for seed in range(400):
        result, log_density = one_dimensional(samples=400, inflation=1.5, seed=seed)
        assert result.half_width_nats is not None
        hits += abs(result.importance_weighted_nats - log_density) <= result.half_width_nats
    assert 0.92 <= hits / 400 <= 0.98


def test_interval_of_few_effective_samples_is_within_nothing() -> None:
    lonely = bounds([0.0, -50.0, -60.0], np.zeros(3), np.zeros(3))
    even = bounds(np.zeros(20), np.zeros(20), np.zeros(20))
    assert not lonely.is_within(1e6)
    assert even.is_within(1e-9)
    assert bounds([0.0], [0.0], [0.0]).half_width_nats is None


@given(TERMS)
def test_importance_weighted_bound_is_log_mean_exp(terms: np.ndarray) -> None:
    likelihood, prior, posterior = terms
    expected = special.logsumexp(likelihood + prior - posterior) - math.log(12)
    assert bounds(*terms).importance_weighted_nats == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_one_sample_has_no_standard_error_and_both_bounds_agree() -> None:
    result = bounds([-3.0], [-1.0], [-2.0])
    assert (result.elbo_nats, result.importance_weighted_nats) == (-2.0, -2.0)
    assert result.standard_error_nats is None
    assert not result.reliable


def test_one_dominant_weight_is_not_reliable() -> None:
    result = bounds(np.array([-1000.0] * 63 + [0.0]), np.zeros(64), np.zeros(64))
    assert result.effective_sample_size == pytest.approx(1)
    assert not result.reliable


def test_bits_per_dim_is_code_length() -> None:
    assert bits_per_dim(-784 * math.log(2), 784, discrete=True) == pytest.approx(1.0)
    assert bits_per_dim(-100.0, 784, discrete=False) is None
