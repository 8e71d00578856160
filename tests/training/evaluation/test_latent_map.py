from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from app.images.png import encode_png
from training.evaluation.canvas import FRAME, WHITE, draw_histogram
from training.evaluation.latent_map import (
    CODES,
    LABEL_COLOURS,
    PRIOR,
    SIDE,
    UNNAMED,
    decoded_plane,
    draw_codes_beside_prior,
    draw_latent_map,
    principal_plane,
)


def test_plane_shows_the_quantiles_with_x_to_the_right_and_y_upwards() -> None:
    seen: list[NDArray[np.float32]] = []

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        seen.append(latents)
        return np.arange(len(latents), dtype=np.uint8)[:, None, None, None].repeat(2, axis=1).repeat(3, axis=2)

    plane = decoded_plane(decode, steps=4)
    assert plane.shape == (4 * 2, 4 * 3, 1)
    assert plane[::2, ::3, 0].ravel().tolist() == list(range(16))  # row by row from the top left
    grid = seen[0].reshape(4, 4, 2)
    quantiles = [NormalDist().inv_cdf(share) for share in (0.125, 0.375, 0.625, 0.875)]
    np.testing.assert_allclose(grid[0, :, 0], quantiles, rtol=1e-6)
    np.testing.assert_allclose(grid[:, 0, 1], quantiles[::-1], rtol=1e-6)


def test_map_gives_each_code_the_colour_of_its_class_at_its_place() -> None:
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
    picture = draw_latent_map(np.repeat(corners, 5, axis=0), np.repeat([0, 1, 2, 13], 5), None)
    square, reach = picture[:, :SIDE], SIDE // 2
    quarters = [square[reach:, :reach], square[reach:, reach:], square[:reach, :reach], square[:reach, reach:]]
    for quarter, label in zip(quarters, (0, 1, 2, 3), strict=True):
        assert _colours(quarter) == {tuple(LABEL_COLOURS[label])}


def test_map_of_unlabelled_codes_is_grey_without_a_legend() -> None:
    picture = draw_latent_map(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), None, None)
    assert picture.shape == (SIDE, SIDE, 3)
    assert _colours(picture) == {UNNAMED}


def test_principal_plane_is_pca_s_up_to_signs() -> None:
    points = (np.random.default_rng(1).normal(size=(80, 6)) * [5, 3, 1, 1, 1, 1] + 7).astype(np.float32)
    others = points[:9] + np.float32(0.5)
    expected = PCA(2).fit(points.astype(np.float64)).transform(others)
    np.testing.assert_allclose(np.abs(principal_plane(points)(others)), np.abs(expected), atol=1e-4)


def test_codes_of_one_dimension_lie_on_a_line() -> None:
    points = np.array([[1], [2], [6]], np.float32)
    plane = principal_plane(points)(points)
    np.testing.assert_allclose(np.abs(plane), [[2, 0], [1, 0], [3, 0]], atol=1e-6)


def test_codes_lie_over_samples_of_the_prior_in_scatter_and_histograms() -> None:
    draw = np.random.default_rng(2)
    codes, prior = draw.normal(size=(300, 14)).astype(np.float32), draw.normal(size=(300, 14)).astype(np.float32)
    picture, bare = draw_codes_beside_prior(codes, prior), draw_codes_beside_prior(codes, None)
    assert picture.shape == bare.shape
    for half in (picture[40:, :SIDE], picture[40:, SIDE:]):
        assert {CODES, PRIOR} <= _colours(half)
    assert PRIOR not in _colours(bare[40:])
    assert len(encode_png(picture)) < 60_000


def test_histogram_bars_are_shares_of_each_set() -> None:
    """A set of ten times as many numbers of one spread is drawn as high."""
    few, many = np.linspace(0, 1, 240, dtype=np.float32), np.linspace(0, 1, 2400, dtype=np.float32)
    panel = draw_histogram(few, many, (120, 100), "", ((255, 0, 0), (0, 0, 255)))
    line = np.nonzero((panel == (255, 0, 0)).all(axis=2))[0]
    bars = np.nonzero((panel == (0, 0, 255)).all(axis=2))[0]
    assert abs(int(line.min()) - int(bars.min())) <= 2


def _colours(picture: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    found = {tuple(colour.tolist()) for colour in np.unique(picture.reshape(-1, 3), axis=0)}
    return found - {WHITE, FRAME}
