from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from training.evaluation.frechet import Moments, frechet_between, frechet_distance
from training.evaluation.resampling import Interval, resample_counts


def random_moments(seed: int, size: int) -> Moments:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(size, size))
    return Moments(generator.normal(size=size), root @ root.T)


def test_distance_between_gaussians_on_a_line_is_known() -> None:
    """(μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    one, other = Moments(np.array([1.0]), np.array([[4.0]])), Moments(np.array([4.0]), np.array([[25.0]]))
    assert frechet_distance(one, other) == pytest.approx(9 + 9)


@pytest.mark.parametrize("size", [2, 9])
def test_distance_is_scipy_s(size: int) -> None:
    one, other = random_moments(0, size), random_moments(1, size)
    product = sqrtm(one.covariance @ other.covariance).real
    wanted = np.square(one.mean - other.mean).sum() + np.trace(one.covariance + other.covariance - 2 * product)
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(wanted, rel=1e-9)


def test_distance_of_singular_covariances_needs_no_help() -> None:
    """Features that are always zero, as a rectifier's may be; a set has no distance from itself."""
    moments = random_moments(3, 5)
    flat = Moments(moments.mean, np.diag([4.0, 1.0, 0.0, 0.0, 0.0]))
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-12)
    point = Moments(moments.mean, np.zeros((5, 5)))
    assert frechet_distance(flat, point) == pytest.approx(5.0)


def test_moments_are_numpy_s_also_of_rows_that_count_more_than_once() -> None:
    generator = np.random.default_rng(0)
    rows, counts = generator.normal(size=(30, 4)), generator.integers(0, 4, 30)
    repeated = np.repeat(rows, counts, axis=0)
    moments = Moments.of(rows, counts.astype(np.float64))
    np.testing.assert_allclose(moments.mean, repeated.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(repeated, rowvar=False))


def test_distance_between_sets_nears_that_of_their_gaussians_and_states_its_error() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(4000, 3)), generator.normal(1.0, 2.0, size=(4000, 3))
    found = frechet_between(first, second)
    assert abs(found.mean - 6) < 4 * found.standard_error
    many = [
        frechet_distance(Moments.of(generator.normal(size=(4000, 3))), Moments.of(generator.normal(1, 2, (4000, 3))))
        for _ in range(60)
    ]
    assert found.standard_error == pytest.approx(np.std(many), rel=0.4)


def test_resamples_hold_as_many_images_and_those_of_one_set_are_alike() -> None:
    counts = resample_counts(50, 400, which=0)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.var(axis=0).mean() == pytest.approx(1 - 1 / 50, rel=0.1)  # binomial(50, 1/50)
    np.testing.assert_array_equal(counts, resample_counts(50, 400, which=0))
    assert not np.array_equal(counts, resample_counts(50, 400, which=1))


def test_basic_interval_takes_away_what_resampling_adds() -> None:
    """Resamples that lie ten too high say that the estimate does, too."""
    resampled = 30 + np.linspace(-2, 2, 1001)
    interval = Interval.basic(20.0, resampled)
    assert (interval.low, interval.high) == pytest.approx((10 - 1.9, 10 + 1.9))
    assert str(interval) == "20 [8.1, 11.9]"
