"""Rows of small problems: quadratics are solved, a banana valley agrees with scipy, rows do not see each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import rosen, rosen_der

from app.latent.quasi_newton import Memory, Radii, descent, dot

Doubles = NDArray[np.float64]


def minimise(start: Doubles, steps: int) -> Doubles:
    """Of Rosenbrock's valley, rows (B, D)."""
    here, memory, radii = start.copy(), Memory(), Radii(np.full(len(start), 0.5))
    value, gradient = rosen(here.T), rosen_der(here.T).T
    for _ in range(steps):
        step = radii.within(descent(gradient, memory))
        there = here + step
        there_value, there_gradient = rosen(there.T), rosen_der(there.T).T
        better = there_value < value
        memory.remember(step, there_gradient - gradient)
        radii.adapt(step, better)
        here[better], value = there[better], np.where(better, there_value, value)
        gradient = np.where(better[:, None], there_gradient, gradient)
    return here


def test_valley_is_followed_to_its_end() -> None:
    starts = np.random.default_rng(0).normal(scale=1.5, size=(20, 2))
    np.testing.assert_allclose(minimise(starts, 120), 1.0, atol=1e-4)


def test_row_does_not_depend_on_its_company() -> None:
    starts = np.random.default_rng(1).normal(size=(7, 5))
    together = minimise(starts, 25)
    for row, start in zip(together, starts, strict=True):
        np.testing.assert_array_equal(minimise(start[None], 25)[0], row)


def test_direction_is_newton_s_once_the_curvature_is_known() -> None:
    """On a quadratic in three dimensions three independent pairs say all of H (Nocedal & Wright, section 7.2)."""
    generator = np.random.default_rng(2)
    root = generator.normal(size=(3, 3))
    hessian = root @ root.T + np.eye(3)
    memory = Memory()
    steps = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    conjugate = np.linalg.solve(np.linalg.cholesky(hessian).T, steps).T
    for step in conjugate:
        memory.remember(step[None], step[None] @ hessian)
    gradient = generator.normal(size=(1, 3))
    np.testing.assert_allclose(descent(gradient, memory), -np.linalg.solve(hessian, gradient.T).T, rtol=1e-9)


def test_negative_curvature_teaches_nothing() -> None:
    memory = Memory()
    memory.remember(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[-1.0, 0.0], [4.0, 0.0]]))
    direction = descent(np.array([[2.0, 0.0], [2.0, 0.0]]), memory)
    np.testing.assert_allclose(direction, [[-2.0, 0.0], [-0.5, 0.0]])


@pytest.mark.parametrize(("good", "length"), [(True, 1.0), (False, 0.175)])
def test_radius_follows_success(good: bool, length: float) -> None:
    radii = Radii(np.array([0.6]))
    radii.adapt(np.array([[0.3, 0.4]]), np.array([good]))
    np.testing.assert_allclose(radii.length, [length])
    assert dot(radii.within(np.array([[30.0, 40.0]])), np.ones((1, 2)))[0] == pytest.approx(1.4 * length)
