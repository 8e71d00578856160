from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from training.config import DataConfig
from training.data.digits import load_scikit_digits
from training.data.stacked import stacked
from training.evaluation.judge import COMMITTED, Judge
from training.evaluation.modes import Modes, stacked_classes, stacked_modes


def test_shares_are_of_all_classes_also_of_those_that_no_sample_has() -> None:
    modes = Modes.of(np.array([0, 2, 2, 2]), 4)
    assert modes.shares.tolist() == [0.25, 0, 0.75, 0]
    assert modes.covered == 2


def test_divergence_is_scipy_s_and_infinite_where_the_data_has_no_such_class() -> None:
    data = np.array([0.1, 0.2, 0.3, 0.4])
    modes = Modes.of(np.array([0, 2, 2, 2, 3]), 4)
    assert modes.divergence_nats(data) == pytest.approx(entropy(modes.shares, data))
    assert Modes.of(np.array([1, 1]), 2).divergence_nats(np.array([0.5, 0.5])) == pytest.approx(math.log(2))
    assert modes.divergence_nats(np.array([0.5, 0.5, 0.0, 0.0])) == math.inf


def test_stacked_pictures_are_of_the_number_that_their_channels_show() -> None:
    """Three digits as red, green and blue are one of a thousand classes."""
    data = load_scikit_digits(DataConfig(set="digits", size=8))
    judge = Judge.open(COMMITTED / "digits.json")
    chosen = np.arange(90).reshape(30, 3)
    pictures = data.train.pictures[chosen][..., 0].transpose(0, 2, 3, 1)
    labels = data.train.labels[chosen] @ [100, 10, 1]
    assert np.mean(stacked_classes(judge, pictures) == labels) > 0.9


def test_covered_modes_stand_beside_those_of_training_pictures() -> None:
    """The training pictures as samples cover what they cover, up to the judge's errors; one class covers one mode."""
    data = load_scikit_digits(DataConfig(set="digits", size=8))
    judge, train = Judge.open(COMMITTED / "digits.json"), stacked(data.train, which=0)
    found = stacked_modes(judge, train.pictures, train)
    real = len(np.unique(train.labels))
    assert found["covered_modes"].value == pytest.approx(real, rel=0.01)
    assert found["covered_modes"].protocol.endswith(f"as many training images: {real}")
    wanted = entropy(np.bincount(train.labels, minlength=1000) / len(train), np.full(1000, 1e-3))
    assert found["mode_divergence_nats"].value == pytest.approx(wanted, rel=0.02)
    same = stacked_modes(judge, np.repeat(train.pictures[:1], 50, axis=0), train.take(np.arange(50)))
    assert same["covered_modes"].value == 1
    assert same["mode_divergence_nats"].value == pytest.approx(math.log(1000), abs=1e-5)
