from __future__ import annotations

import numpy as np
import pytest

from app.latent.interpolation import choose_path, walk

POINTS = np.array([[3, 0, 0], [0, 2, 0], [0, 0, 1]], np.float32)


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [2, 3, 9])
def test_walk_counts_frames_and_passes_through_every_point(path: str, steps: int) -> None:
    frames = walk(POINTS, steps, path=path)
    assert frames.shape == (2 * (steps - 1) + 1, 3)
    np.testing.assert_array_equal(frames[:: steps - 1], POINTS)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_loop_returns_without_repeating_its_start(path: str) -> None:
    frames = walk(POINTS, 5, path=path, loop=True)
    assert frames.shape == (3 * 4, 3)
    np.testing.assert_array_equal(frames[::4], POINTS)
    np.testing.assert_array_equal(frames, walk(np.concatenate([POINTS, POINTS[:1]]), 5, path=path)[:-1])


def test_linear_walk_is_evenly_spaced() -> None:
    frames = walk(POINTS[:2], 4, path="linear")
    np.testing.assert_allclose(frames, [[3, 0, 0], [2, 2 / 3, 0], [1, 4 / 3, 0], [0, 2, 0]], rtol=1e-6)


def test_spherical_walk_keeps_the_norm_and_turns_evenly() -> None:
    frames = walk(np.array([[2, 0], [0, 2]], np.float32), 4, path="spherical")
    angles = np.degrees(np.arctan2(frames[:, 1], frames[:, 0]))
    np.testing.assert_allclose(np.linalg.norm(frames, axis=1), 2, rtol=1e-6)
    np.testing.assert_allclose(angles, [0, 30, 60, 90], atol=1e-4)


@pytest.mark.parametrize("end", [[0, 0, 0], [3, 0, 0], [1e-3, 0, 0], [-3, 0, 0], [-3, 1e-8, 0]])
def test_degenerate_spherical_leg_is_linear(end: list[float]) -> None:
    points = np.array([[3, 0, 0], end], np.float32)
    np.testing.assert_array_equal(walk(points, 7, path="spherical"), walk(points, 7, path="linear"))


def test_huge_points_stay_finite() -> None:
    points = np.array([[1e3] * 64, [-1e3] * 63 + [1e3]], np.float32)
    assert np.isfinite(walk(points, 9, path="spherical")).all()


def test_auto_path_follows_the_prior() -> None:
    assert choose_path("auto", "standard_normal") == "spherical"
    assert choose_path("auto", "none") == "linear"
    assert choose_path("linear", "standard_normal") == "linear"
    assert choose_path("spherical", "none") == "spherical"
