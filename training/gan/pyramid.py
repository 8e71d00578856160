"""The resolutions of a DCGAN and its width at each: the generator climbs them, the discriminator descends."""

from __future__ import annotations

from typing import NamedTuple

from training.config import ConfigError

SMALLEST_BASE = 4
"""Pixels a side of the coarsest feature map, as in the paper; from 5, 6 and 7 sides such as 28 and 48 are reached."""

WIDEST = 8
"""Times the finest width, at most: the paper's 128-256-512-1024."""


class Pyramid(NamedTuple):
    """Hidden feature maps: `widths[i]` channels at `base` × 2^i pixels a side, the last at half the image's side."""

    base: int
    widths: tuple[int, ...]


def pyramid(image_size: int, channels: int) -> Pyramid:
    """Halve the side until it is below 8, with `channels` at half the image's side, doubled at each further halving.

    Raises ConfigError when the side is not base × 2^n with a base of 4 to 7 and at least one halving.
    """
    base, halvings = image_size, 0
    while base >= 2 * SMALLEST_BASE and base % 2 == 0:
        base, halvings = base // 2, halvings + 1
    if halvings == 0 or base >= 2 * SMALLEST_BASE:
        raise ConfigError(f"data.size: a DCGAN's side is 4, 5, 6 or 7 doubled once or more, got {image_size}")
    return Pyramid(base, tuple(channels * min(2**level, WIDEST) for level in reversed(range(halvings))))
