"""The closed-form code length against a coder that walks over the pixels and counts as it goes."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from app.density.complexity import code_length_nats
from app.manifest import ImageSpace, ObservationRule, PixelRange

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))


def space(channels: int = 1, observation: ObservationRule = "unit_interval") -> ImageSpace:
    unit = PixelRange(low=0, high=1)
    channel = {1: 1, 3: 3}[channels]
    return ImageSpace.model_validate(
        {"height": 6, "width": 5, "channels": channel, "pixel_range": unit, "observation": observation}
    )


def pictures(count: int, channels: int = 1) -> NDArray[np.uint8]:
    """Waves with some noise: neither flat nor random."""
    generator = np.random.default_rng(count)
    rows, columns = np.mgrid[:6, :5]
    waves = 128 + 90 * np.sin((rows + columns)[None, :, :, None] * generator.uniform(0.2, 1, (count, 1, 1, channels)))
    return (waves + generator.integers(0, 20, waves.shape)).astype(np.uint8)


def walked_nats(plane: NDArray[np.int64], above: NDArray[np.int64], neighbours: int) -> float:
    """−log₂… in nats of a plane (C,H,W): each bit costs −log (n_bit + ½) / (n + 1) by what its context has seen."""
    seen: Counter[tuple[object, int]] = Counter()
    nats = 0.0
    for channel, row, column in np.ndindex(plane.shape):
        places = [(row - up, column - left) for up, left in NEIGHBOURS[:neighbours]]
        inside = [y >= 0 and 0 <= x < plane.shape[2] for y, x in places]
        context = tuple(plane[channel, y, x] if ok else 0 for (y, x), ok in zip(places, inside, strict=True))
        key, bit = (above[channel, row, column], context), int(plane[channel, row, column])
        nats -= math.log((seen[key, bit] + 0.5) / (seen[key, 0] + seen[key, 1] + 1))
        seen[key, bit] += 1
    return nats


def shortest_nats(plane: NDArray[np.int64], above: NDArray[np.int64]) -> float:
    return min(walked_nats(plane, above, 6), walked_nats(plane, above, 2), plane.size * math.log(2)) + math.log(3)


@pytest.mark.parametrize("channels", [1, 3])
def test_code_length_is_that_of_the_coder_that_walks_over_the_pixels(channels: int) -> None:
    batch = pictures(3, channels)
    for picture, found in zip(batch, code_length_nats(batch, space(channels)), strict=True):
        levels = picture.transpose(2, 0, 1).astype(np.int64)
        code, above, nats = levels ^ (levels // 2), np.zeros_like(levels), 0.0
        for bit in (7, 6, 5, 4, 3, 2, 1, 0):
            plane = code // 2**bit % 2
            nats += shortest_nats(plane, above)
            above = plane
        assert found == pytest.approx(nats, rel=1e-12)


def test_code_length_of_a_thresholded_picture_is_that_of_its_one_plane() -> None:
    batch = pictures(2)
    found = code_length_nats(batch, space(observation="threshold"))
    for picture, nats in zip(batch, found, strict=True):
        plane = (picture.transpose(2, 0, 1) > 127).astype(np.int64)
        assert nats == pytest.approx(shortest_nats(plane, np.zeros_like(plane)), rel=1e-12)


def test_code_length_of_a_picture_ignores_its_batch_mates() -> None:
    batch = pictures(7)
    alone = [code_length_nats(picture[None], space())[0] for picture in batch]
    np.testing.assert_array_equal(code_length_nats(batch, space()), alone)


def test_code_length_rises_from_flat_pictures_to_noise_and_stays_below_the_bits_themselves() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 6, 5, 1), dtype=np.uint8)
    flat, wave = np.full_like(noise, 200), pictures(1)
    lengths = [float(code_length_nats(each, space())[0]) for each in (flat, wave, noise)]
    assert lengths == sorted(lengths)
    assert lengths[-1] <= 6 * 5 * 8 * math.log(2) + 8 * math.log(3)
