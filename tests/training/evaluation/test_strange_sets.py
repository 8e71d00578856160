from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.images.png import encode_png
from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.splits import ImageSet
from training.evaluation.strange_sets import strange_set

DIGITS = DataConfig(set="digits", size=8)


@pytest.fixture(scope="module")
def inside() -> ImageSet:
    return load_splits(DIGITS).test


@pytest.mark.parametrize(("name", "axis"), [("vertical_flip", 1), ("horizontal_flip", 2)])
def test_flips_are_of_the_test_images(inside: ImageSet, name: str, axis: int) -> None:
    np.testing.assert_array_equal(strange_set(name, inside, DIGITS, None).pictures, np.flip(inside.pictures, axis))


def test_noise_is_uniform_and_the_same_every_time(inside: ImageSet) -> None:
    noise = strange_set("noise", inside, DIGITS, None).pictures
    assert noise.shape == inside.pictures.shape
    assert abs(noise.mean() - 127.5) < 3 * 74 / noise.size**0.5
    np.testing.assert_array_equal(noise, strange_set("noise", inside, DIGITS, None).pictures)


def test_constant_pictures_go_from_black_to_white(inside: ImageSet) -> None:
    flat = strange_set("constant", inside, DIGITS, None).pictures.reshape(len(inside), -1)
    assert (flat.min(axis=1) == flat.max(axis=1)).all()
    assert (flat[0, 0], flat[-1, 0]) == (0, 255)


def test_left_out_classes_are_the_test_images_that_training_did_without(inside: ImageSet) -> None:
    config = DIGITS.model_copy(update={"leave_out_classes": (3, 8)})
    labels = strange_set("left_out_classes", inside, config, None).labels
    assert labels is not None
    assert inside.labels is not None
    assert sorted(labels.tolist()) == sorted(label for label in inside.labels.tolist() if label in (3, 8))


def test_named_set_is_fitted_to_the_model_s_pictures(inside: ImageSet) -> None:
    config = DIGITS.model_copy(update={"size": 12})
    assert strange_set("digits", inside, config, None).pictures.shape == (len(inside), 12, 12, 1)


def test_folder_of_pictures_is_taken_whole(inside: ImageSet, tmp_path: Path) -> None:
    for number, picture in enumerate(inside.pictures[:12]):
        (tmp_path / f"{number}.png").write_bytes(encode_png(picture))
    found = strange_set(str(tmp_path), inside, DIGITS, None).pictures
    assert sorted(map(bytes, found)) == sorted(map(bytes, inside.pictures[:12]))
