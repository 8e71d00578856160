from __future__ import annotations

import hashlib

import numpy as np
import pytest

from training.data.splits import DataError, DataSplits, ImageSet, fingerprint, without_classes


def _images(count: int, first_grey: int = 0, *, labelled: bool = True) -> ImageSet:
    pictures = np.arange(first_grey, first_grey + count * 4, dtype=np.uint8).reshape(count, 2, 2, 1)
    return ImageSet(pictures, np.arange(count) % 2 if labelled else None)


def test_fingerprint_is_the_sha256_of_shapes_pixels_and_labels() -> None:
    expected = hashlib.sha256(
        b"(2, 2, 2, 1) (2,)\n" + bytes(range(8)) + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    )
    assert fingerprint(_images(2)) == expected.hexdigest()


def test_fingerprint_changes_with_labels_pixels_order_and_shape() -> None:
    train, test = _images(3), _images(3, 100)
    variants = [
        fingerprint(train, test),
        fingerprint(test, train),
        fingerprint(train, _images(3, 101)),
        fingerprint(train, _images(3, 100, labelled=False)),
        fingerprint(train, ImageSet(test.pictures.reshape(3, 4, 1, 1), test.labels)),
        fingerprint(train.take(np.array([1, 0, 2])), test),
    ]
    assert len(set(variants)) == len(variants)


def test_fingerprint_of_a_view_is_that_of_its_copy() -> None:
    images = _images(4)
    view = ImageSet(images.pictures[::2], None)
    assert fingerprint(view) == fingerprint(ImageSet(view.pictures.copy(), None))


def test_taking_pictures_takes_their_labels_along() -> None:
    images = _images(4)
    taken = images.take(np.array([3, 0]))
    assert len(taken) == 2
    assert taken.pictures[:, 0, 0, 0].tolist() == [12, 0]
    assert taken.labels is not None
    assert taken.labels.tolist() == [1, 0]


def test_summary_counts_pictures_and_skipped_files() -> None:
    skipped = tuple(f"{number}.png: corrupt" for number in range(12))
    splits = DataSplits("cats", _images(3), _images(1), _images(2), ("big", "small"), "0" * 64, skipped)

    lines = splits.summary(skipped_shown=2).splitlines()

    assert lines == [
        "cats: 3 train, 1 validation, 2 test pictures, 2 classes",
        "skipped 12 unreadable files:",
        "  0.png: corrupt",
        "  1.png: corrupt",
        "  … and 10 more",
    ]


def test_classes_are_left_out_of_every_split_and_the_others_keep_their_labels() -> None:
    train, validation, test = _images(6), _images(4, 40), _images(4, 80)
    data = DataSplits("set", train, validation, test, ("even", "odd"), fingerprint(train, validation, test))
    without = without_classes(data, [0])
    for part, whole in ((without.train, train), (without.validation, validation), (without.test, test)):
        np.testing.assert_array_equal(part.pictures, whole.pictures[1::2])
        assert part.labels is not None
        assert set(part.labels.tolist()) == {1}
    assert without.classes == data.classes
    assert without.sha256 == fingerprint(without.train, without.validation, without.test) != data.sha256
    assert without_classes(data, []) is data


@pytest.mark.parametrize(("classes", "reason"), [([2], "has the classes"), ([0, 1], "leaves too little")])
def test_classes_left_out_must_exist_and_leave_something(classes: list[int], reason: str) -> None:
    images = _images(4)
    data = DataSplits("set", images, images, images, ("even", "odd"), "")
    with pytest.raises(DataError, match=reason):
        without_classes(data, classes)
