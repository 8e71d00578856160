from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from training.evaluation.kernel_distance import AT_ONCE, kernel_distance, kernel_distances


def by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """Gretton et al. 2012, eq. 3, with scikit-learn's kernel, whose defaults are those of Bińkowski et al. 2018."""

    def pairs(rows: np.ndarray) -> float:
        kernel = polynomial_kernel(rows)
        return float((kernel.sum() - np.trace(kernel)) / (len(rows) * (len(rows) - 1)))

    return pairs(first) + pairs(second) - 2 * float(polynomial_kernel(first, second).mean())


@pytest.mark.parametrize(("n", "m"), [(7, 5), (AT_ONCE + 3, 40)])
def test_estimate_is_that_of_the_definition(n: int, m: int) -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(n, 6)), generator.normal(0.3, 1, (m, 6))
    assert kernel_distance(first, second).mean == pytest.approx(by_definition(first, second), rel=1e-9)
    assert kernel_distance(second, first).mean == pytest.approx(by_definition(first, second), rel=1e-9)


def test_standard_error_is_the_jackknife_s() -> None:
    """Each row left out in turn, the rest measured anew."""
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(9, 4)), generator.normal(0.5, 1, (6, 4))
    variance = 0.0
    for which, rows in enumerate((first, second)):
        left = [np.delete(rows, index, axis=0) for index in range(len(rows))]
        found = [by_definition(*((part, second) if which == 0 else (first, part))) for part in left]
        variance += (len(rows) - 1) * np.var(found)
    assert kernel_distance(first, second).standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_estimate_has_no_bias_where_both_distributions_are_one_and_the_error_is_rather_too_large() -> None:
    generator = np.random.default_rng(2)
    found = [kernel_distance(generator.normal(size=(40, 4)), generator.normal(size=(30, 4))) for _ in range(400)]
    values = np.array([each.mean for each in found])
    assert abs(values.mean()) < 3 * values.std() / 20
    assert (values < 0).mean() > 0.3  # a distance that could not be negative would be biased
    assert 1 < np.mean([each.standard_error**2 for each in found]) / values.var() < 3


def test_standard_error_is_right_where_the_distributions_differ() -> None:
    generator = np.random.default_rng(3)
    found = [kernel_distance(generator.normal(size=(60, 3)), generator.normal(1, 1, (60, 3))) for _ in range(200)]
    spread = np.std([each.mean for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.25)


def test_distance_of_resamples_leaves_out_pairs_of_a_row_with_itself() -> None:
    """As if the rows were repeated, but for what each copy has with the others."""
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(6, 3)), generator.normal(size=(5, 3))
    ours, theirs = np.array([[1.0] * 6, [2, 0, 1, 3, 0, 0]]), np.array([[1.0] * 5, [0, 2, 2, 0, 1]])
    found = kernel_distances(first, second, ours, theirs)
    assert found[0] == pytest.approx(by_definition(first, second))
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j for _ in range(int(ours[1, i] * ours[1, j]))]
    others = [(i, j) for i in range(5) for j in range(5) if i != j for _ in range(int(theirs[1, i] * theirs[1, j]))]
    between = [(i, j) for i in range(6) for j in range(5) for _ in range(int(ours[1, i] * theirs[1, j]))]
    means = [
        np.mean([(a[i] @ b[j] / 3 + 1) ** 3 for i, j in chosen])
        for a, b, chosen in ((first, first, pairs), (second, second, others), (first, second, between))
    ]
    assert found[1] == pytest.approx(means[0] + means[1] - 2 * means[2])


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="three rows of each set, got 2 and 9"):
        kernel_distance(np.zeros((2, 3)), np.zeros((9, 3)))
