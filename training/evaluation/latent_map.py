"""Pictures of a latent space: the map of its codes, the codes beside the prior, and a two-dimensional plane decoded.

A good space has classes in regions that touch, and codes that fill the prior: what is sampled is then near something
that was seen. A bad one has holes that the prior samples from, or codes that it never reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from app.images.pixels import contact_sheet
from training.evaluation.canvas import Cloud, Colour, draw_histogram, draw_scatter, legend, text_line

LABEL_COLOURS = np.array(
    [
        (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
        (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
    ],
    dtype=np.uint8,
)  # fmt: skip
CODES, PRIOR, UNNAMED = (31, 119, 180), (190, 190, 190), (90, 90, 90)
"""Colours of codes, of samples of the prior, and of codes without a class."""
SIDE, ROWS, COLUMNS = 440, 3, 4
"""Of a scatter, in pixels, and of the histograms beside it."""
MOST_POINTS = 1000

Points = NDArray[np.float32]


def principal_plane(points: Float[np.ndarray, "n d"]) -> Callable[[Points], NDArray[np.float64]]:
    """The projection of rows (M, D) onto the first two principal components of `points`, centred on them: (M, 2).

    Two dimensions are their own plane; a line (D = 1) lies at y = 0.
    """
    if points.shape[1] == 2:
        return lambda rows: rows.astype(np.float64)
    centre = points.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(points.astype(np.float64) - centre, full_matrices=False)

    def project(rows: Points) -> NDArray[np.float64]:
        plane = (rows.astype(np.float64) - centre) @ axes[:2].T
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))

    return project


def draw_latent_map(
    codes: Points, labels: NDArray[np.int64] | None, classes: Sequence[str] | None
) -> NDArray[np.uint8]:
    """Codes (N, D) on their principal plane, coloured by class, as a picture (H, W, 3); without labels in grey."""
    codes = codes[:MOST_POINTS]
    plane = principal_plane(codes)(codes)
    if labels is None:
        return draw_scatter([Cloud(plane, UNNAMED)], SIDE)
    names = list(classes or map(str, range(int(labels.max(initial=0)) + 1)))
    entries = [(name, _colour(kind)) for kind, name in enumerate(names)]
    cloud = Cloud(plane, LABEL_COLOURS[labels[:MOST_POINTS] % len(LABEL_COLOURS)])
    return np.concatenate([draw_scatter([cloud], SIDE), legend(entries, SIDE)], axis=1)


def _colour(kind: int) -> Colour:
    red, green, blue = LABEL_COLOURS[kind % len(LABEL_COLOURS)].tolist()
    return red, green, blue


def draw_codes_beside_prior(codes: Points, prior: Points | None) -> NDArray[np.uint8]:
    """The aggregate posterior, draws (N, D), against samples of the prior (M, D): a plane and histograms, as (H, W, 3).

    The plane is that of the codes' first two principal components; the histograms are of the dimensions in which codes
    vary most, each with its number. Without a prior only the codes are drawn.
    """
    codes = codes[:MOST_POINTS]
    project = principal_plane(codes)
    clouds = [Cloud(project(codes), CODES)]
    if prior is not None:
        prior = prior[:MOST_POINTS]
        clouds.insert(0, Cloud(project(prior), PRIOR))
    ranked = np.argsort(-codes.var(axis=0), kind="stable")[: ROWS * COLUMNS]
    body = np.concatenate([draw_scatter(clouds, SIDE), _histograms(codes, prior, ranked)], axis=1)
    title = [("codes of images", CODES)]
    title.append(("samples of the prior", PRIOR) if prior is not None else ("there is no prior", UNNAMED))
    return np.concatenate([text_line(title, body.shape[1]), body], axis=0)


def _histograms(codes: Points, prior: Points | None, dimensions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A panel for each dimension, on a canvas as high as the scatter."""
    width, height = SIDE // COLUMNS, SIDE // ROWS
    canvas = np.full((SIDE, width * COLUMNS, 3), 255, np.uint8)
    for place, dimension in enumerate(dimensions):
        behind = None if prior is None else prior[:, dimension]
        panel = draw_histogram(codes[:, dimension], behind, (width, height), f"z{dimension}", (CODES, PRIOR))
        top, left = place // COLUMNS * height, place % COLUMNS * width
        canvas[top : top + height, left : left + width] = panel
    return canvas


def decoded_plane(decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]], steps: int = 20) -> NDArray[np.uint8]:
    """The prior's unit square decoded: cell (i, j) shows the quantiles (i + ½) / steps of both coordinates.

    Kingma & Welling 2014, figure 4. `decode` takes latents (N, 2) to pictures (N, H, W, C).
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)]
    latents = np.array([(x, y) for y in reversed(quantiles) for x in quantiles], dtype=np.float32)
    return contact_sheet(decode(latents), columns=steps)
