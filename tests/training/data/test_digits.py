from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from training.config import DataConfig
from training.data.datasets import DataError, load_splits


def test_digits_are_split_70_15_15_without_loss_or_overlap() -> None:
    splits = load_splits(DataConfig(set="digits", size=8))
    parts = (splits.train, splits.validation, splits.test)

    assert [len(part) for part in parts] == [1257, 270, 270]
    together = np.concatenate([part.pictures.reshape(len(part), 64) for part in parts])
    published = np.floor(load_digits().images.reshape(-1, 64) * 255 / 16 + 0.5)
    assert sorted(map(bytes, together)) == sorted(map(bytes, published.astype(np.uint8)))
    assert together.max() == 255


def test_digits_keep_their_labels() -> None:
    splits = load_splits(DataConfig(set="digits", size=8))
    digits = load_digits()
    published = {
        bytes(np.floor(image * 255 / 16 + 0.5).astype(np.uint8)): int(label)
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    assert splits.classes == tuple("0123456789")
    assert splits.test.labels is not None
    assert [published[bytes(picture)] for picture in splits.test.pictures] == splits.test.labels.tolist()


def test_digits_are_the_same_at_every_load() -> None:
    first, second = (load_splits(DataConfig(set="digits", size=8)) for _ in range(2))
    assert first.sha256 == second.sha256


def test_digits_are_fitted_to_the_runs_size_and_channels() -> None:
    config = DataConfig(set="digits", size=16, channels=3, validation_images=20, test_images=30)
    splits = load_splits(config)

    assert splits.train.pictures.shape == (1747, 16, 16, 3)
    assert splits.validation.pictures.shape == (20, 16, 16, 3)
    assert splits.test.pictures.shape == (30, 16, 16, 3)
    assert (splits.train.pictures[..., :1] == splits.train.pictures).all()


def test_digits_held_out_to_the_last_are_refused() -> None:
    with pytest.raises(DataError, match="leave nothing to train on"):
        load_splits(DataConfig(set="digits", size=8, validation_images=1700, test_images=97))
