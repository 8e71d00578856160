"""Pictures of a two-dimensional latent space: the plane decoded, and the images encoded onto it."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.images.pixels import contact_sheet

LABEL_COLOURS = np.array(
    [
        (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
        (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
    ],
    dtype=np.uint8,
)  # fmt: skip
EXTENT = 4.0
"""Half the side of the scatter's square, in standard deviations of the prior."""


def decoded_plane(decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]], steps: int = 20) -> NDArray[np.uint8]:
    """The prior's unit square decoded: cell (i, j) shows the quantiles (i + ½) / steps of both coordinates.

    Kingma & Welling 2014, figure 4. `decode` takes latents (N, 2) to pictures (N, H, W, C).
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)]
    latents = np.array([(x, y) for y in reversed(quantiles) for x in quantiles], dtype=np.float32)
    return contact_sheet(decode(latents), columns=steps)


def scatter(points: NDArray[np.float32], labels: NDArray[np.int64] | None, side: int = 640) -> NDArray[np.uint8]:
    """The aggregate posterior: encoded images (N, 2) on white, coloured by label, over circles of 1, 2 and 3 σ."""
    canvas = np.full((side, side, 3), 255, dtype=np.uint8)
    _draw_circles(canvas)
    colours = LABEL_COLOURS[(np.zeros(len(points), np.int64) if labels is None else labels) % len(LABEL_COLOURS)]
    for (x, y), colour in zip(_to_cells(points, side), colours, strict=True):
        canvas[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = colour
    return canvas


def _to_cells(points: NDArray[np.float32], side: int) -> NDArray[np.int64]:
    """Columns and rows; a point outside the square lies on its edge."""
    unit = (np.clip(points, -EXTENT, EXTENT) * (1, -1) / EXTENT + 1) / 2
    return np.rint(unit * (side - 1)).astype(np.int64)


def _draw_circles(canvas: NDArray[np.uint8]) -> None:
    angle = np.linspace(0, 2 * np.pi, 4000)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    for radius in (1, 2, 3):
        cells = _to_cells(radius * ring, len(canvas))
        canvas[cells[:, 1], cells[:, 0]] = 200
