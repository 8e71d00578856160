"""Finding the latent behind a picture: minimising its squared error by the generator's gradient. Pure numpy.

A generator has no encoder, but a gradient, and the latent whose image is nearest to a picture can be searched for (Zhu,
Krähenbühl, Shechtman, Efros, "Generative visual manipulation on the natural image manifold", arXiv:1609.03552; Lipton,
Tripathi, arXiv:1702.04782). The graphs are callables that are awaited, so that a service may batch many searches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.latent.quasi_newton import Doubles, Memory, Radii, descent, dot

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

Decode = Callable[[Floats], Awaitable[Floats]]
"""Latents (B, D) to images (B, …)."""
PullBack = Callable[[Floats, Floats], Awaitable[Floats]]
"""Latents (B, D) and cotangents of their images (B, …) to ∂⟨cotangent, G(z)⟩ / ∂z (B, D)."""

ENOUGH = 1e-4
"""Of the descent that the gradient foresees, for a step to be kept: Armijo's condition."""
FIRST_RADIUS = 0.5
"""Of a step, in units of the prior's scale; it grows while steps are as good as foreseen."""


@dataclass(frozen=True, slots=True)
class Search:
    """How a latent is searched for: the protocol of an error."""

    restarts: int = 3
    """Starting points a picture."""
    steps: int = 50
    """Of each: one run of the generator and of its gradient."""
    pull: float = 1e-4
    """Weight of ½ (‖z‖ − typical norm)² beside the mean squared error of pixels in [0, 1]: of places that are about as
    near, the one where the prior's mass lies."""

    def __post_init__(self) -> None:
        if self.restarts < 1 or self.steps < 1 or self.pull < 0:
            raise ValueError(f"a search needs a start and a step at least, and no negative pull, got {self}")


@dataclass(frozen=True, slots=True)
class Generator:
    """What is searched: the generator, its gradient, how wide its pixel range is, and the norm (N,) that latents have
    where the prior's mass lies, for each image."""

    decode: Decode
    pull_back: PullBack
    range_width: float
    typical_norms: Doubles


class Inverted(NamedTuple):
    """Latents (N, D), and the mean squared error (N,) of their images' pixels in [0, 1]."""

    latents: Floats
    mse: Doubles


@dataclass(slots=True)
class _Place:
    """Rows of latents (B, D), with the objective, its gradient and the error at them."""

    latent: Doubles
    objective: Doubles
    gradient: Doubles
    mse: Doubles

    def moved_where(self, better: npt.NDArray[np.bool_], other: _Place) -> _Place:
        """The other place where that is better."""
        column = better[:, None]
        return _Place(
            np.where(column, other.latent, self.latent),
            np.where(better, other.objective, self.objective),
            np.where(column, other.gradient, self.gradient),
            np.where(better, other.mse, self.mse),
        )


async def invert(images: Floats, starts: Floats, generator: Generator, how: Search) -> Inverted:
    """The best latent that was found for each image (N, …) from its own starting points (N, R, D).

    Every row is searched by itself: what is found for an image depends on nothing else in the batch.
    """
    count, restarts, size = starts.shape
    objective = _Objective(
        images.repeat(restarts, axis=0), generator, generator.typical_norms.repeat(restarts), how.pull
    )
    found = await _descend(objective, starts.reshape(-1, size).astype(np.float64), how.steps)
    best = found.objective.reshape(count, restarts).argmin(axis=1)
    rows = np.arange(count) * restarts + best
    return Inverted(found.latent[rows].astype(np.float32), found.mse[rows])


@dataclass(frozen=True, slots=True)
class _Objective:
    """mean((G(z) − x)²) / width² + ½ pull (‖z‖ − typical norm)² of each row, for rows of targets x."""

    targets: Floats
    generator: Generator
    typical_norms: Doubles
    pull: float

    async def at(self, latents: Doubles) -> _Place:
        """Its value and its gradient, the latter through the adjoint of G."""
        asked = latents.astype(np.float32)
        residual = (await self.generator.decode(asked)) - self.targets
        pixels = residual[0].size * self.generator.range_width**2
        mse = np.square(residual.reshape(len(residual), -1)).sum(axis=1, dtype=np.float64) / pixels
        pulled = await self.generator.pull_back(asked, residual * np.float32(2 / pixels))
        norms = np.linalg.norm(latents, axis=1)
        excess = norms - self.typical_norms
        outwards = latents / np.maximum(norms, 1e-100)[:, None]
        gradient = pulled.astype(np.float64) + (self.pull * excess)[:, None] * outwards
        return _Place(latents, mse + 0.5 * self.pull * excess**2, gradient, mse)


async def _descend(objective: _Objective, latents: Doubles, steps: int) -> _Place:
    """By L-BFGS within a radius; a step that does not descend is taken back, and the radius shrinks."""
    here = await objective.at(latents)
    memory, radii = Memory(), Radii(np.full(len(latents), FIRST_RADIUS))
    for _ in range(steps):
        step = radii.within(descent(here.gradient, memory))
        there = await objective.at(here.latent + step)
        better = there.objective < here.objective + ENOUGH * dot(step, here.gradient)
        memory.remember(step, there.gradient - here.gradient)
        radii.adapt(step, better)
        here = here.moved_where(better, there)
    return here


def nearest(picture: Bytes, shown: Bytes, count: int) -> npt.NDArray[np.intp]:
    """The indices of the `count` pictures among `shown` (B, H, W, C) nearest to `picture` (H, W, C), nearest first."""
    difference = shown.reshape(len(shown), -1).astype(np.int32) - picture.reshape(-1)
    return np.argsort(np.square(difference).sum(axis=1, dtype=np.int64), kind="stable")[:count]
