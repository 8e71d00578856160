from __future__ import annotations

import math

import numpy as np
from scipy import stats

from app.latent.arithmetic import combine, log_prior_nats, rescale_to_typical, traverse


def test_combine_is_the_weighted_sum() -> None:
    points = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    np.testing.assert_array_equal(combine([1, -1, 0.5], points), np.array([0.5, 1.0], np.float32))


def test_combine_loses_nothing_to_cancellation() -> None:
    points = np.array([[1e6 + 1], [1e6]], np.float32)
    np.testing.assert_array_equal(combine([1e3, -1e3], points), [1e3])


def test_rescaled_latent_keeps_its_direction_and_has_the_typical_norm() -> None:
    latent = np.array([3, 4, 0, 0], np.float32)
    np.testing.assert_allclose(rescale_to_typical(latent), [1.2, 1.6, 0, 0], rtol=1e-6)


def test_origin_has_no_direction_to_rescale() -> None:
    np.testing.assert_array_equal(rescale_to_typical(np.zeros(3, np.float32)), np.zeros(3))


def test_log_prior_is_the_normal_density() -> None:
    latents = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    expected = stats.multivariate_normal(np.zeros(7)).logpdf(latents)
    np.testing.assert_allclose(log_prior_nats(latents, "standard_normal"), expected, rtol=1e-12)


def test_log_prior_is_absent_without_a_prior() -> None:
    assert log_prior_nats(np.zeros((2, 3), np.float32), "none") is None
    assert log_prior_nats(np.zeros((2, 3), np.float32), "flow") is None


def test_traverse_sweeps_each_dimension_alone() -> None:
    latent = np.array([7, 8, 9], np.float32)
    latents, values = traverse(latent, [2, 0], extent=2.0, steps=3)
    np.testing.assert_array_equal(values, [-2, 0, 2])
    np.testing.assert_array_equal(latents, [[7, 8, -2], [7, 8, 0], [7, 8, 2], [-2, 8, 9], [0, 8, 9], [2, 8, 9]])
    assert latents.dtype == np.float32
    assert math.isclose(latent.sum(), 24)


def test_traverse_adds_displacements_to_the_place() -> None:
    place, along = np.array([1, 2, 3], np.float32), np.array([0.5, 0, -1], np.float32)
    latents, values = traverse(place, [along, 1], extent=2.0, steps=3)
    np.testing.assert_allclose(latents[:3], place + np.outer(values, along))
    np.testing.assert_allclose(latents[3:], [[1, value, 3] for value in values])
