"""Stochastic binarisation: the binary images that published MNIST log-likelihoods are of."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from training.data.draws import Purpose, bit_generator

_PIXELS_AT_ONCE = 1 << 22  # bounds the memory for random numbers to 64 MiB


def binarise(pictures: UInt8[np.ndarray, "n h w c"], *, seed: int) -> UInt8[np.ndarray, "n h w c"]:
    """Each pixel as a coin with its grey as odds: 255 with probability grey/255, else 0.

    As in Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks", section 5. The coins are
    drawn in the order of the pixels, so that the first pictures of a set are binarised alike however long the set is.
    """
    generator = bit_generator(seed, Purpose.BINARISATION)
    greys = pictures.reshape(-1)
    coins = np.empty_like(greys)
    for start in range(0, len(greys), _PIXELS_AT_ONCE):
        part = greys[start : start + _PIXELS_AT_ONCE]
        uniforms = (generator.random_raw(len(part)) >> np.uint64(11)) * 2.0**-53  # in [0, 1): grey 255 always wins
        coins[start : start + _PIXELS_AT_ONCE] = np.where(uniforms < part / 255.0, 255, 0)
    return coins.reshape(pictures.shape)
