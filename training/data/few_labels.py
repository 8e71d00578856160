"""Few labels: which pictures of a training set keep theirs, and what is left of the others.

A run that learns from few labels never holds the rest: they are overwritten before the splits reach it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from training.data.draws import Purpose, bit_generator, permutation
from training.data.splits import HIDDEN, DataError, DataSplits, ImageSet

Labels = Int64[np.ndarray, " n"]


def balanced_choice(labels: Labels, count: int, *, seed: int) -> Int64[np.ndarray, " count"]:
    """The indices of `count` pictures, as many of each class, drawn at random by `seed`; in rising order.

    Where `count` is no multiple of the number of classes, the first classes have one more. DataError where a class has
    too few pictures. Smaller choices of a seed are parts of the larger ones.
    """
    classes = np.unique(labels[labels != HIDDEN])
    if not 0 < len(classes) <= count:
        raise DataError(f"{count} labels are too few for {len(classes)} classes, or there are no labels at all")
    order = permutation(len(labels), bit_generator(seed, Purpose.LABELS))
    chosen = []
    for place, name in enumerate(classes):
        wanted = count // len(classes) + (place < count % len(classes))
        members = order[labels[order] == name]
        if len(members) < wanted:
            raise DataError(f"{wanted} labels of class {name} are wanted, and it has {len(members)} pictures")
        chosen.append(members[:wanted])
    return np.sort(np.concatenate(chosen))


def hide_labels(data: DataSplits, count: int, *, seed: int) -> DataSplits:
    """The same pictures, with the labels of all but `count` training pictures overwritten by `HIDDEN`.

    The fingerprint stays: it says which data the run was given, and what was hidden follows from `count` and `seed`.
    """
    if data.train.labels is None:
        raise DataError(f"data.labelled_images needs a data set with classes; {data.name} has none")
    kept = balanced_choice(data.train.labels, count, seed=seed)
    labels = np.full_like(data.train.labels, HIDDEN)
    labels[kept] = data.train.labels[kept]
    return replace(data, train=ImageSet(data.train.pictures, labels))


def labelled(images: ImageSet) -> ImageSet:
    """The pictures whose labels are not hidden."""
    if images.labels is None:
        return images.take(np.empty(0, np.int64))
    return images.take(np.flatnonzero(images.labels != HIDDEN))
