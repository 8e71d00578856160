"""Searches on a linear generator, whose nearest latent is a linear least-squares problem, and on a curved one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from app.latent.inversion import Generator, Inverted, Search, invert, nearest

Floats = NDArray[np.float32]

WEIGHTS = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32) / 3
SHAPE = (-1, 2, 3, 4)


def at_once(work: Callable[..., Floats]) -> Callable[..., Awaitable[Floats]]:
    async def found(*arrays: Floats) -> Floats:
        return work(*arrays)

    return found


def generator(*, curved: bool, count: int) -> Generator:
    """x = W z or tanh(W z) in [−1, 1]."""

    def decode(z: Floats) -> Floats:
        y = z @ WEIGHTS.T
        return (np.tanh(y) if curved else y).reshape(SHAPE)

    def pull_back(z: Floats, cotangent: Floats) -> Floats:
        flat = cotangent.reshape(len(z), -1)
        return (flat * (1 - np.tanh(z @ WEIGHTS.T) ** 2) if curved else flat) @ WEIGHTS

    return Generator(at_once(decode), at_once(pull_back), 2.0, np.full(count, np.sqrt(5)))


def search(images: Floats, starts: Floats, how: Search, *, curved: bool) -> Inverted:
    return asyncio.run(invert(images, starts, generator(curved=curved, count=len(images)), how))


def draws(*shape: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_linear_generator_is_inverted_by_least_squares() -> None:
    images = draws(4, 24)
    expected = np.linalg.lstsq(WEIGHTS, images.T)[0].T
    found = search(images.reshape(SHAPE), draws(4, 1, 5, seed=2), Search(restarts=1, steps=40, pull=0), curved=False)
    np.testing.assert_allclose(found.latents, expected, atol=2e-3)
    residual = images - expected @ WEIGHTS.T
    np.testing.assert_allclose(found.mse, (residual**2).mean(axis=1) / 4, rtol=1e-4)  # in [0, 1], not in [−1, 1]


def test_own_images_lead_back_to_their_latents() -> None:
    latents = draws(6, 5)
    images = np.tanh(latents @ WEIGHTS.T).reshape(SHAPE)
    found = search(images, draws(6, 4, 5, seed=3), Search(restarts=4, steps=60, pull=0), curved=True)
    assert found.mse.max() < 1e-6
    np.testing.assert_allclose(found.latents, latents, atol=0.02)


def test_objective_found_is_scipy_s() -> None:
    image, start, pull = draws(24) / 2, draws(5, seed=4), 0.01

    def objective(z: NDArray[np.float64]) -> float:
        error = ((np.tanh(WEIGHTS @ z) - image) ** 2).mean() / 4
        return float(error + 0.5 * pull * (np.linalg.norm(z) - np.sqrt(5)) ** 2)

    expected = minimize(objective, start.astype(np.float64), tol=1e-10)
    how = Search(restarts=1, steps=80, pull=pull)
    found = search(image.reshape(SHAPE), start[None, None], how, curved=True)
    assert objective(found.latents[0].astype(np.float64)) == pytest.approx(expected.fun, rel=1e-4)


def test_pull_decides_where_the_picture_does_not() -> None:
    """Of a generator that ignores its latent every place is as near: the search goes to the typical shell."""
    blank = Generator(
        at_once(lambda z: np.zeros((len(z), 3), np.float32)), at_once(lambda z, c: 0 * z), 1.0, np.ones(2)
    )
    found = asyncio.run(invert(np.zeros((2, 3), np.float32), 5 * draws(2, 1, 4), blank, Search(1, 40, pull=0.1)))
    np.testing.assert_allclose(np.linalg.norm(found.latents, axis=1), 1.0, atol=1e-3)


def test_image_does_not_depend_on_its_company() -> None:
    images, starts = draws(5, 24).reshape(SHAPE), draws(5, 3, 5, seed=6)
    together = search(images, starts, Search(steps=20), curved=True)
    alone = search(images[2:3], starts[2:3], Search(steps=20), curved=True)
    np.testing.assert_allclose(together.latents[2], alone.latents[0], atol=1e-4)  # numpy's product is not exact by row


@pytest.mark.parametrize("wrong", [{"restarts": 0}, {"steps": 0}, {"pull": -1.0}])
def test_search_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a search needs"):
        Search(**wrong)  # type: ignore[arg-type]


def test_nearest_pictures_come_first_and_the_earlier_of_equals() -> None:
    shown = np.zeros((4, 2, 2, 1), np.uint8)
    shown[:, 0, 0, 0] = [200, 10, 30, 10]
    picture = np.zeros((2, 2, 1), np.uint8)
    assert nearest(picture, shown, 3).tolist() == [1, 3, 2]
    assert nearest(picture + np.uint8(255), shown, 1).tolist() == [0]
