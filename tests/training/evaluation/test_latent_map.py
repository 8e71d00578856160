from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.latent_map import EXTENT, LABEL_COLOURS, decoded_plane, scatter


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


@pytest.mark.parametrize(
    ("point", "column", "row"),
    [((0, 0), 50, 50), ((EXTENT, 0), 100, 50), ((0, EXTENT), 50, 0), ((-99, -99), 0, 100), ((2, 1), 75, 38)],
)
def test_scatter_puts_a_point_where_it_lies(point: tuple[float, float], column: int, row: int) -> None:
    canvas = scatter(np.array([point], np.float32), np.array([3]), side=101)
    painted = np.argwhere((canvas == LABEL_COLOURS[3]).all(axis=2))
    assert np.abs(painted - (row, column)).max() <= 1
    assert (canvas[row, column] == LABEL_COLOURS[3]).all()


def test_scatter_draws_the_circles_of_whole_standard_deviations() -> None:
    canvas = scatter(np.empty((0, 2), np.float32), None, side=801)
    rows, columns = np.nonzero((canvas == 200).all(axis=2))
    radii = np.hypot(rows - 400, columns - 400) / 100
    np.testing.assert_allclose(radii, np.rint(radii), atol=0.01)
    assert set(np.rint(radii)) == {1, 2, 3}


def test_scatter_without_labels_has_one_colour_and_labels_beyond_ten_wrap_around() -> None:
    points = np.array([[-3.5, 3.5], [3.5, 3.5]], np.float32)
    assert _colours(scatter(points, None)) == {tuple(LABEL_COLOURS[0])}
    assert _colours(scatter(points, np.array([2, 12]))) == {tuple(LABEL_COLOURS[2])}


def _colours(canvas: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    found = {tuple(colour) for colour in canvas.reshape(-1, 3)}
    return found - {(255, 255, 255), (200, 200, 200)}
