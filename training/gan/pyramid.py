"""The resolutions of a DCGAN and how wide it is at each: shared by the generator, which climbs, and the discriminator."""

from __future__ import annotations

from typing import NamedTuple

SMALLEST_BASE = 4
"""Pixels a side of the coarsest feature map, the paper's; bases of 5, 6 and 7 let sides such as 28 and 48 be reached."""

WIDEST = 8
"""Times the finest width: the paper's 128-256-512-1024. Beyond it the parameters grow and the pictures do not improve."""


class Pyramid(NamedTuple):
    """`base` pixels a side at the coarsest resolution; `widths[i]` channels at side base × 2^i, all below the image's."""

    base: int
    widths: tuple[int, ...]


def pyramid(image_size: int, channels: int) -> Pyramid:
    """Halve the side until it is below 8, with `channels` at half the image's side, doubled at each further halving.

    Raises ValueError when the side is not base × 2^n with a base of 4 to 7 and at least one halving.
    """
    base, halvings = image_size, 0
    while base >= 2 * SMALLEST_BASE and base % 2 == 0:
        base, halvings = base // 2, halvings + 1
    if halvings == 0 or base >= 2 * SMALLEST_BASE:
        raise ValueError(f"a DCGAN's side is 4, 5, 6 or 7 doubled once or more (8, 16, 28, 32, 48, 64 …), got {image_size}")
    return Pyramid(base, tuple(channels * min(2**level, WIDEST) for level in reversed(range(halvings))))
