"""Pictures that a model was not trained on, to measure whether it notices: other sets, near ones, noise, flat greys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.draws import Purpose, bit_generator
from training.data.splits import DataError, DataSplits, ImageSet
from training.evaluation.protocol import SEED
from training.evaluation.published import subset

MADE = ("horizontal_flip", "vertical_flip", "noise", "constant")
"""Sets that are made from the test images, or from nothing."""
LEFT_OUT = "left_out_classes"
NAMED = ("mnist", "fashion_mnist", "digits")
_AS_UPLOADED = {"binarise": False, "fixed_binary_test": False}


def uploads(config: DataConfig, data: DataSplits, count: int, data_dir: Path | None) -> ImageSet:
    """A random subset of the test images as people would upload them: in grey, where the test set is binary."""
    if config.fixed_binary_test:
        data = load_splits(config.model_copy(update=_AS_UPLOADED), data_dir)
    return subset(data.test, count)


def strange_set(name: str, inside: ImageSet, config: DataConfig, data_dir: Path | None) -> ImageSet:
    """The set called `name`, fitted to the model's size and channels; as many pictures as `inside` where they are made.

    `name` is one of `MADE`, a named data set (its test images), `left_out_classes` (the test images of the classes that
    training did without) or the path of a folder of pictures (all of them). Raises DataError for anything else.
    """
    if name in MADE:
        return ImageSet(_made(name, inside.pictures), None)
    plain = config.model_copy(update=_AS_UPLOADED | {"leave_out_classes": ()})
    if name == LEFT_OUT:
        return _left_out(plain, config.leave_out_classes, len(inside), data_dir)
    other = {"folder": None, "validation_images": None, "test_images": None}
    if name in NAMED:
        return subset(load_splits(plain.model_copy(update=other | {"set": name}), data_dir).test, len(inside))
    if Path(name).is_dir():
        splits = load_splits(plain.model_copy(update=other | {"set": "folder", "folder": Path(name)}), data_dir)
        every = np.concatenate([part.pictures for part in (splits.train, splits.validation, splits.test)])
        return subset(ImageSet(every, None), len(inside))
    raise DataError(f"{name} is neither a folder of pictures nor one of {', '.join((*NAMED, *MADE, LEFT_OUT))}")


def _made(name: str, inside: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n h w c"]:
    match name:
        case "horizontal_flip":
            return np.ascontiguousarray(inside[:, :, ::-1])
        case "vertical_flip":
            return np.ascontiguousarray(inside[:, ::-1])
        case "noise":
            words = bit_generator(SEED, Purpose.EVALUATION, index=1).random_raw(-(-inside.size // 8))
            return words.astype("<u8").view(np.uint8)[: inside.size].reshape(inside.shape)
        case _:
            greys = np.linspace(0, 255, len(inside)).astype(np.uint8)
            return np.broadcast_to(greys[:, None, None, None], inside.shape).copy()


def _left_out(config: DataConfig, classes: tuple[int, ...], count: int, data_dir: Path | None) -> ImageSet:
    images = load_splits(config, data_dir).test
    if not classes or images.labels is None:
        raise DataError(f"{LEFT_OUT} is for models that were trained with data.leave_out_classes")
    return subset(images.take(np.flatnonzero(np.isin(images.labels, classes))), count)
