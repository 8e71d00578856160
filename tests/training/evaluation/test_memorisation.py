from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from training.evaluation.memorisation import memorisation, probability_below


def test_probability_is_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 9, 40).astype(float), generator.integers(2, 12, 25).astype(float)
    statistic = mannwhitneyu(second, first).statistic
    assert probability_below(first, second).mean == pytest.approx(statistic / (40 * 25))


def test_standard_error_of_the_probability_is_its_spread() -> None:
    generator = np.random.default_rng(1)
    found = [probability_below(generator.normal(size=80), generator.normal(0.4, 1, 50)) for _ in range(400)]
    assert np.mean([each.standard_error for each in found]) == pytest.approx(np.std([f.mean for f in found]), rel=0.15)


def test_new_samples_are_as_near_to_the_training_set_as_test_pictures() -> None:
    train, test, samples = np.random.default_rng(2).normal(size=(3, 600, 6))
    found = memorisation(samples, test, train)
    assert abs(found.nearer.mean - 0.5) < 4 * found.nearer.standard_error
    assert found.copies.mean < 0.04


def test_copies_are_found() -> None:
    """Half of the samples are training pictures with a little noise."""
    generator = np.random.default_rng(3)
    train, test, samples = generator.normal(size=(3, 600, 6))
    samples[:300] = train[:300] + 1e-3 * generator.normal(size=(300, 6))
    found = memorisation(samples, test, train)
    assert found.copies.mean == pytest.approx(0.5, abs=0.02)
    assert found.nearer.mean == pytest.approx(0.75, abs=0.04)
    assert memorisation(train, test, train).nearer.mean == 1


def test_samples_far_from_the_data_are_no_copies() -> None:
    train, test, samples = np.random.default_rng(4).normal(size=(3, 200, 6))
    found = memorisation(samples + 20, test, train)
    assert (found.nearer.mean, found.copies.mean) == (0, 0)
