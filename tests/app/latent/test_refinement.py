"""Chains through independent proposals: their ends are distributed as the target is, and follow from seed and index."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm

from app.latent.refinement import further_noise, metropolis_hastings

TARGET = norm(0.7, 0.8)


def test_ends_are_distributed_as_the_ratio_says() -> None:
    """From N(0, 1) with the exact ratio to N(0.7, 0.8²); plain samples are not so."""
    further, log_uniforms = further_noise(3, range(2000), 40, 1)
    proposals = further[..., 0].astype(np.float64)
    ratios = TARGET.logpdf(proposals) - norm.logpdf(proposals)
    chosen = metropolis_hastings(ratios, log_uniforms[:, 1:])
    ends = proposals[np.arange(2000), chosen.places]
    assert kstest(ends, TARGET.cdf).pvalue > 0.01
    assert kstest(proposals[:, 0], TARGET.cdf).pvalue < 1e-6


def test_acceptance_is_that_of_the_ratio() -> None:
    """Of two states with ratio r < 1 and 1: from the better, the worse is taken with probability r."""
    log_uniforms = further_noise(5, range(4000), 1, 1)[1]
    worse = metropolis_hastings(np.tile([0.0, np.log(0.3)], (4000, 1)), log_uniforms)
    assert worse.acceptance.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(worse.places == 1, worse.acceptance == 1)
    better = metropolis_hastings(np.tile([0.0, 0.1], (4000, 1)), log_uniforms)
    assert (better.places == 1).all()


def test_uniforms_are_uniform() -> None:
    log_uniforms = further_noise(1, range(500), 4, 3)[1]
    assert kstest(np.exp(log_uniforms).ravel(), "uniform").pvalue > 0.01


def test_noise_follows_from_seed_and_index_and_fewer_are_the_beginning_of_more() -> None:
    many, few = further_noise(2, range(5), 6, 3), further_noise(2, [3], 4, 3)
    for whole, part in zip(many, few, strict=True):
        np.testing.assert_array_equal(whole[3, :4], part[0])
    assert not np.array_equal(many[0], further_noise(4, range(5), 6, 3)[0])
