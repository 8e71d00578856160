"""Bayes' rule over labels, against sums taken outside of logarithms."""

from __future__ import annotations

import numpy as np
import pytest

from app.density.labels import LabelPosterior


def test_joint_marginal_and_posterior_follow_from_the_conditionals() -> None:
    density, prior = np.array([0.02, 0.5, 3.0]), np.array([0.5, 0.3, 0.2])
    found = LabelPosterior.of(np.log(density), prior)
    joint = density * prior
    np.testing.assert_allclose(np.exp(found.log_joint), joint)
    assert np.exp(found.log_marginal) == pytest.approx(joint.sum())
    np.testing.assert_allclose(found.probabilities, joint / joint.sum())
    assert found.most_likely == 2


def test_posterior_survives_densities_that_no_float_holds() -> None:
    found = LabelPosterior.of([-2000.0, -2000.0 + np.log(3), -9000.0], [0.25, 0.25, 0.5])
    np.testing.assert_allclose(found.probabilities, [0.25, 0.75, 0.0], atol=1e-12)
    assert found.log_marginal == pytest.approx(-2000.0)


def test_equal_densities_leave_the_prior() -> None:
    prior = [0.1, 0.7, 0.2]
    np.testing.assert_allclose(LabelPosterior.of([-50.0] * 3, prior).probabilities, prior)
