from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from training.evaluation.manifolds import AT_ONCE, overlap, radii


def test_radius_is_the_distance_of_the_kth_neighbour() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert radii(line, 1).tolist() == [1, 1, 2, 4]
    assert radii(line, 2).tolist() == [3, 2, 3, 6]
    rows = np.random.default_rng(0).normal(size=(50, 5))
    np.testing.assert_allclose(radii(rows, 3), np.sort(cdist(rows, rows), axis=1)[:, 3], rtol=1e-5)


def test_overlap_is_that_of_the_definitions() -> None:
    generator = np.random.default_rng(1)
    real, samples = generator.normal(size=(70, 3)), generator.normal(0.5, 0.7, (AT_ONCE + 60, 3))
    found = overlap(real, samples)
    apart, ours, theirs = (
        cdist(samples, real),
        np.sort(cdist(real, real), axis=1),
        np.sort(cdist(samples, samples), axis=1),
    )
    assert found.precision.mean == pytest.approx((apart <= ours[:, 3]).any(axis=1).mean())
    assert found.recall.mean == pytest.approx((theirs[:, 3] >= apart.T).any(axis=1).mean())
    assert found.density.mean == pytest.approx((apart <= ours[:, 5]).sum() / (5 * len(samples)))
    assert found.coverage.mean == pytest.approx((apart <= ours[:, 5]).any(axis=0).mean())
    share = found.precision.mean
    assert found.precision.standard_error == pytest.approx(np.sqrt(share * (1 - share) / (len(samples) - 1)))


def test_samples_of_one_of_two_clusters_are_realistic_and_half_of_the_data_is_missed() -> None:
    generator = np.random.default_rng(2)
    clusters = generator.normal(size=(2, 300, 2)) + np.array([[[0.0, 0.0]], [[50.0, 0.0]]])
    found = overlap(clusters.reshape(600, 2), generator.normal(size=(600, 2)))
    assert found.precision.mean > 0.9
    assert found.recall.mean == pytest.approx(0.5, abs=0.05)
    assert found.coverage.mean == pytest.approx(0.5, abs=0.05)


def test_density_of_the_data_s_own_distribution_is_one_and_one_outlier_spoils_precision_alone() -> None:
    """Naeem et al. 2020, section 3.2: one far real picture's ball makes many poor samples look realistic."""
    generator = np.random.default_rng(3)
    real, alike = generator.normal(size=(2, 1000, 4))
    assert overlap(real, alike).density.mean == pytest.approx(1, abs=0.1)
    poor = generator.normal(size=(500, 4)) + 30
    assert overlap(real, poor).precision.mean == 0
    with_outlier = overlap(np.concatenate([real, np.full((1, 4), 30.0)]), poor)
    assert with_outlier.precision.mean == 1
    assert with_outlier.density.mean == pytest.approx(0.2)
    assert with_outlier.coverage.mean == pytest.approx(1 / 1001)


def test_far_samples_overlap_nothing() -> None:
    real = np.random.default_rng(4).normal(size=(40, 3))
    found = overlap(real, real + 100)
    assert [each.mean for each in (found.precision, found.recall, found.density, found.coverage)] == [0, 0, 0, 0]
