from __future__ import annotations

import numpy as np
import pytest

from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.few_labels import balanced_choice, hide_labels, labelled
from training.data.splits import HIDDEN, DataError, DataSplits, ImageSet

LABELS = np.random.default_rng(0).choice(4, 400, p=[0.6, 0.2, 0.1, 0.1])


@pytest.mark.parametrize(("count", "each"), [(40, [10, 10, 10, 10]), (42, [11, 11, 10, 10]), (4, [1, 1, 1, 1])])
def test_choice_holds_as_many_of_each_class(count: int, each: list[int]) -> None:
    chosen = balanced_choice(LABELS, count, seed=3)
    assert len(set(chosen.tolist())) == count
    assert np.bincount(LABELS[chosen]).tolist() == each


def test_choice_depends_on_the_seed_alone_and_smaller_ones_are_parts_of_larger_ones() -> None:
    choices = [balanced_choice(LABELS, 40, seed=seed).tolist() for seed in (3, 3, 4)]
    assert choices[0] == choices[1] != choices[2]
    assert set(balanced_choice(LABELS, 20, seed=3).tolist()) < set(choices[0])


def test_every_picture_of_a_class_is_as_likely_to_be_chosen() -> None:
    """Of 25 pictures a class 5 are chosen, 2,000 times: 400 ± 18 each."""
    labels = np.arange(50) % 2
    counts = np.bincount(np.concatenate([balanced_choice(labels, 10, seed=seed) for seed in range(2000)]))
    assert counts.min() > 400 - 5 * 18
    assert counts.max() < 400 + 5 * 18


@pytest.mark.parametrize(
    ("count", "complaint"), [(3, "3 labels are too few for 4 classes"), (400, "100 labels of class 1 are wanted")]
)
def test_choice_that_cannot_be_balanced_is_refused(count: int, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        balanced_choice(LABELS, count, seed=0)


def test_hidden_labels_are_gone_and_everything_else_stays() -> None:
    whole = load_splits(DataConfig(set="digits", size=8))
    few = load_splits(DataConfig(set="digits", size=8, labelled_images=30, label_seed=5))
    assert whole.train.labels is not None
    assert few.train.labels is not None
    told = few.train.labels != HIDDEN
    assert told.sum() == 30
    assert few.train.labels[told].tolist() == whole.train.labels[told].tolist()
    assert few.class_counts() == (3,) * 10
    assert len(labelled(few.train)) == 30
    assert np.array_equal(few.train.pictures, whole.train.pictures)
    assert few.sha256 == whole.sha256


def test_data_without_classes_has_no_labels_to_tell() -> None:
    images = ImageSet(np.zeros((4, 2, 2, 1), np.uint8), None)
    assert len(labelled(images)) == 0
    with pytest.raises(DataError, match="noise has none"):
        hide_labels(DataSplits("noise", images, images, images, None, ""), 2, seed=0)
