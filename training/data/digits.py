"""scikit-learn's digits: 1,797 handwritten digits of 8 × 8 pixels in 17 greys. They come with the library: no download.

A part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, UCI 1998).
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from training.config import DataConfig
from training.data.draws import Purpose, bit_generator, permutation
from training.data.fitting import fit
from training.data.splits import DataError, DataSplits, ImageSet, fingerprint

_HELD_OUT_SHARE = 0.15


def load_scikit_digits(config: DataConfig) -> DataSplits:
    """The digits in a fixed random order, 70 % train, 15 % validation, 15 % test unless the config states numbers.

    DataError when the config's numbers leave nothing to train on.
    """
    digits = load_digits()
    greys = np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8)[..., None]  # 0 … 16 to 0 … 255
    images = ImageSet(fit(greys, config), digits.target.astype(np.int64))
    share = round(_HELD_OUT_SHARE * len(images))
    train_images = len(images) - (config.validation_images or share) - (config.test_images or share)
    if train_images < 1:
        raise DataError(
            f"data.validation_images and data.test_images leave nothing to train on: there are {len(images):,} digits"
        )
    order = permutation(len(images), bit_generator(0, Purpose.SPLIT))
    bounds = [train_images, train_images + (config.validation_images or share)]
    train, validation, test = (images.take(part) for part in np.split(order, bounds))
    return DataSplits("digits", train, validation, test, tuple("0123456789"), fingerprint(train, validation, test))
