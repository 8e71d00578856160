"""Plain figures as pictures: scatters, histograms, legends. No axis has a scale: only shapes are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WHITE, BLACK, FRAME = (255, 255, 255), (60, 60, 60), (225, 225, 225)
TEXT_PX, LINE_PX, LEGEND_PX, MARGIN_PX, BINS = 12, 18, 96, 8, 24
SHOWN_SHARE = 0.995
"""Of the points that decide how far a figure reaches; those beyond lie on its edge."""


class Cloud(NamedTuple):
    """Points (N, 2) of one colour, or each of its own (N, 3)."""

    points: NDArray[np.float64]
    colour: Colour | NDArray[np.uint8]


def draw_scatter(clouds: Sequence[Cloud], side: int) -> NDArray[np.uint8]:
    """Clouds on a white square (side, side, 3), y upwards, both axes to one scale; later clouds lie on earlier ones."""
    canvas = np.full((side, side, 3), 255, np.uint8)
    cells = _to_cells([cloud.points for cloud in clouds], side)
    for cloud, places in zip(clouds, cells, strict=True):
        for (x, y), colour in zip(places, np.broadcast_to(cloud.colour, (len(places), 3)), strict=True):
            canvas[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = colour
    canvas[[0, -1]] = canvas[:, [0, -1]] = FRAME
    return canvas


def draw_histogram(
    front: NDArray[np.float32],
    behind: NDArray[np.float32] | None,
    size: tuple[int, int],
    name: str,
    colours: tuple[Colour, Colour],
) -> NDArray[np.uint8]:
    """The outline of one set of numbers over the filled bars of another, of equal area, on (height, width, 3)."""
    width, height = size
    image = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(image)
    sets = [front] if behind is None else [front, behind]
    limits = _limits(np.concatenate(sets))
    heights = [np.histogram(np.clip(numbers, *limits), BINS, limits)[0] / len(numbers) for numbers in sets]
    unit = (height - LINE_PX - MARGIN_PX) / max(float(h.max()) for h in heights)
    edges = np.linspace(MARGIN_PX / 2, width - MARGIN_PX / 2, BINS + 1)
    floor = height - MARGIN_PX // 2
    if behind is not None:
        for left, right, share in zip(edges, edges[1:], heights[1], strict=False):
            draw.rectangle((left, floor - share * unit, right, floor), fill=colours[1])
    tops = np.repeat(floor - heights[0] * unit, 2)
    draw.line(list(zip(np.repeat(edges, 2)[1:-1].tolist(), tops.tolist(), strict=True)), fill=colours[0], width=2)
    draw.text((MARGIN_PX, 2), name, fill=BLACK, font=ImageFont.load_default(TEXT_PX))
    draw.rectangle((0, 0, width - 1, height - 1), outline=FRAME)
    return np.asarray(image)


def legend(entries: Sequence[tuple[str, Colour]], height: int) -> NDArray[np.uint8]:
    """Names under each other, each in its colour, as far as they fit: (height, LEGEND_PX, 3)."""
    image = Image.new("RGB", (LEGEND_PX, height), WHITE)
    draw = ImageDraw.Draw(image)
    for row, (name, colour) in enumerate(entries[: (height - MARGIN_PX) // LINE_PX]):
        draw.text((MARGIN_PX, MARGIN_PX + row * LINE_PX), name, fill=colour, font=ImageFont.load_default(TEXT_PX))
    return np.asarray(image)


def text_line(words: Sequence[tuple[str, Colour]], width: int) -> NDArray[np.uint8]:
    """Words side by side, each in its colour: (height, width, 3)."""
    image = Image.new("RGB", (width, LINE_PX + 4), WHITE)
    draw, font, left = ImageDraw.Draw(image), ImageFont.load_default(TEXT_PX), float(MARGIN_PX)
    for text, colour in words:
        draw.text((left, 4), text, fill=colour, font=font)
        left += draw.textlength(text, font=font) + 2 * MARGIN_PX
    return np.asarray(image)


def _to_cells(sets: Sequence[NDArray[np.float64]], side: int) -> list[NDArray[np.int64]]:
    """Columns and rows of points on a square that most of all points fit in."""
    every = np.concatenate(sets)
    bounds = np.array([_limits(every[:, axis]) for axis in (0, 1)])
    centre, half = bounds.mean(axis=1), max(float((bounds[:, 1] - bounds[:, 0]).max()) / 2, 1e-9)
    return [
        np.rint(((np.clip((points - centre) / half, -1, 1) * (1, -1) + 1) / 2) * (side - 1)).astype(np.int64)
        for points in sets
    ]


def _limits(numbers: NDArray[np.floating]) -> tuple[float, float]:
    """Where most of the numbers lie, with a little room; a range even where all are the same."""
    low, high = np.quantile(numbers, [1 - SHOWN_SHARE, SHOWN_SHARE])
    room = max(0.05 * float(high - low), 1e-6)
    return float(low) - room, float(high) + room
