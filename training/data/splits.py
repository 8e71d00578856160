"""What every data set becomes: pictures as 8-bit arrays, split into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64, UInt8

HIDDEN = -1
"""In place of a label that nobody is told."""


class DataError(ValueError):
    """The data cannot be had or used as configured; the message says what to do about it."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures, and the index of each one's class where the set has classes; `HIDDEN` where it is not told."""

    pictures: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"] | None
    attributes: Int64[np.ndarray, "n a"] | None = None
    """The index of each one's value of each of the set's attributes; −1 where it has none."""

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, indices: Int64[np.ndarray, " m"]) -> ImageSet:
        """The pictures at `indices`, in that order, with their labels and attributes."""
        labels = None if self.labels is None else self.labels[indices]
        return ImageSet(self.pictures[indices], labels, None if self.attributes is None else self.attributes[indices])


@dataclass(frozen=True)
class Attribute:
    """What is known of pictures beside their class, and the names of its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DataSplits:
    """One data set, fitted to the run's size and channels. No picture is in two splits."""

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: tuple[str, ...] | None
    sha256: str
    """Of the shapes, pixels and labels of the three splits in order: the same data gives the same digits anywhere."""
    skipped: tuple[str, ...] = ()
    """Files that could not be used, each with the reason: "cats/7.jpg: the picture cannot be decoded"."""
    attributes: tuple[Attribute, ...] = ()
    """What the columns of the pictures' attributes are."""

    def class_counts(self) -> tuple[int, ...]:
        """Training pictures of each class, of those whose label is told; empty where the set has no classes."""
        if self.classes is None or self.train.labels is None:
            return ()
        told = self.train.labels[self.train.labels != HIDDEN]
        return tuple(int(count) for count in np.bincount(told, minlength=len(self.classes)))

    def summary(self, skipped_shown: int = 10) -> str:
        """In words for the console: the sizes of the splits, and which files were skipped, at most `skipped_shown`."""
        sizes = f"{len(self.train):,} train, {len(self.validation):,} validation, {len(self.test):,} test"
        classes = f", {len(self.classes)} classes" if self.classes else ""
        lines = [f"{self.name}: {sizes} pictures{classes}"]
        if self.skipped:
            lines.append(f"skipped {len(self.skipped):,} unreadable files:")
            lines.extend(f"  {reason}" for reason in self.skipped[:skipped_shown])
        if (more := len(self.skipped) - skipped_shown) > 0:
            lines.append(f"  … and {more:,} more")
        return "\n".join(lines)


def fingerprint(*sets: ImageSet) -> str:
    """sha256 of the sets' shapes, pixels, labels and attributes, in order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for images in sets:
        labels = np.empty(0, np.int64) if images.labels is None else images.labels
        digest.update(f"{images.pictures.shape} {labels.shape}\n".encode())
        digest.update(np.ascontiguousarray(images.pictures).data)
        digest.update(np.ascontiguousarray(labels.astype("<i8")).data)
        if images.attributes is not None:
            digest.update(np.ascontiguousarray(images.attributes.astype("<i8")).data)
    return digest.hexdigest()


def without_classes(data: DataSplits, classes: Sequence[int]) -> DataSplits:
    """The splits without the images of some classes, by index; the others keep their labels and `classes` its names.

    Raises DataError where the set has no such classes, or nothing is left to train on.
    """
    if not classes:
        return data
    known = range(len(data.classes or ()))
    if not set(classes) <= set(known):
        raise DataError(f"data.leave_out_classes = {list(classes)}: {data.name} has the classes {list(known)}")
    train, validation, test = (_without(part, classes) for part in (data.train, data.validation, data.test))
    if not (len(train) and len(validation) and len(test)):
        raise DataError(f"data.leave_out_classes = {list(classes)} leaves too little of {data.name}")
    return replace(data, train=train, validation=validation, test=test, sha256=fingerprint(train, validation, test))


def _without(images: ImageSet, classes: Sequence[int]) -> ImageSet:
    return images if images.labels is None else images.take(np.flatnonzero(~np.isin(images.labels, classes)))
