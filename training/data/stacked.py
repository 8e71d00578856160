"""Stacked MNIST: three digits as the red, green and blue of one picture, a thousand classes to cover or to miss.

Metz et al. 2017, "Unrolled generative adversarial networks", section 3.3.1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.config import DataConfig
from training.data.draws import Purpose, bit_generator, permutation
from training.data.mnist import MNIST, load_published
from training.data.splits import DataError, DataSplits, ImageSet, fingerprint

CHANNELS = 3


def load_stacked_mnist(config: DataConfig, data_dir: Path) -> DataSplits:
    """As many pictures as MNIST has in each split; every digit is once a red, once a green and once a blue one.

    The class of a picture is the number that its digits make, red first. DataError unless channels = 3.
    """
    if config.channels != CHANNELS:
        raise DataError('data.set = "stacked_mnist" is of coloured pictures: data.channels = 3')
    grey = load_published(MNIST, config.model_copy(update={"channels": 1}), data_dir)
    parts = (grey.train, grey.validation, grey.test)
    train, validation, test = (stacked(part, which=which) for which, part in enumerate(parts))
    classes = tuple(f"{number:03d}" for number in range(1000))
    return DataSplits("stacked_mnist", train, validation, test, classes, fingerprint(train, validation, test))


def stacked(digits: ImageSet, *, which: int) -> ImageSet:
    """Grey pictures of the classes 0 … 9, three and three in a random order of their own for each `which`."""
    generator = bit_generator(0, Purpose.STACKING, index=which)
    orders = [permutation(len(digits), generator) for _ in range(CHANNELS)]
    pictures = np.concatenate([digits.pictures[order] for order in orders], axis=-1)
    if digits.labels is None:
        return ImageSet(pictures, None)
    red, green, blue = (digits.labels[order] for order in orders)
    return ImageSet(pictures, 100 * red + 10 * green + blue)
