"""L-BFGS for many small problems at once, a row each. Pure numpy; rows do not depend on each other.

Nocedal & Wright, "Numerical Optimization" (2006), algorithm 7.4. In place of a line search, which would need a run of
the model for every trial of every row, a step keeps within a radius that follows its success (section 4.1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

MEMORY = 10
"""Pairs of steps and changes of the gradient that make up the estimate of the curvature."""
LARGEST_RADIUS = 4.0
SHRINKAGE = 0.35
"""Of the radius, from the length of a step that failed."""
SMALLEST_COSINE = 1e-10
"""Between a step and the change of the gradient, for the pair to tell of positive curvature."""
_TINY = 1e-100
"""Instead of zero in a denominator; its inverse can be multiplied."""


class _Pair(NamedTuple):
    """A step s (B, D), the gradient's change y (B, D), and 1 / ⟨s, y⟩ (B,): zeros for rows that learned nothing."""

    step: Doubles
    change: Doubles
    inverse: Doubles


@dataclass(slots=True)
class Memory:
    """What the last steps told of the curvature of each row; `scale` (B,) is the last ⟨s, y⟩ / ⟨y, y⟩."""

    pairs: deque[_Pair] = field(default_factory=lambda: deque(maxlen=MEMORY))
    scale: Doubles | None = None

    def remember(self, step: Doubles, change: Doubles) -> None:
        """Keep a pair in the rows where the curvature along the step is positive; failed steps tell of it too."""
        curvature = dot(step, change)
        told = curvature > SMALLEST_COSINE * np.sqrt(dot(step, step) * dot(change, change))
        inverse = np.where(told, 1 / np.where(told, curvature, 1.0), 0.0)
        column = told[:, None]
        self.pairs.append(_Pair(np.where(column, step, 0), np.where(column, change, 0), inverse))
        found = curvature / np.maximum(dot(change, change), _TINY)
        before = np.ones(len(step)) if self.scale is None else self.scale
        self.scale = np.where(told, found, before)


@dataclass(slots=True)
class Radii:
    """How long a step (B,) of each row may be."""

    length: Doubles

    def within(self, step: Doubles) -> Doubles:
        """The step (B, D), shortened where it is longer."""
        shortened: Doubles = step * np.minimum(1, self.length / np.maximum(_norm(step), _TINY))[:, None]
        return shortened

    def adapt(self, step: Doubles, good: npt.NDArray[np.bool_]) -> None:
        """Twice the step's length where it was good, if that is more; a part of its length where it was not."""
        norm = _norm(step)
        self.length = np.minimum(np.where(good, np.maximum(self.length, 2 * norm), SHRINKAGE * norm), LARGEST_RADIUS)


def descent(gradient: Doubles, memory: Memory) -> Doubles:
    """−H g by the two-loop recursion; the first step, of which no scale is known, is as long as it may be.

    Down the gradient instead in rows where rounding has turned the step uphill.
    """
    if memory.scale is None:
        return _downhill(gradient)
    direction, weights = gradient.copy(), []
    for pair in reversed(memory.pairs):
        weights.append(pair.inverse * dot(pair.step, direction))
        direction -= weights[-1][:, None] * pair.change
    direction *= memory.scale[:, None]
    for pair, weight in zip(memory.pairs, reversed(weights), strict=True):
        direction += (weight - pair.inverse * dot(pair.change, direction))[:, None] * pair.step
    uphill = dot(direction, gradient) <= 0
    return np.where(uphill[:, None], _downhill(gradient), -direction)


def dot(a: Doubles, b: Doubles) -> Doubles:
    """⟨a, b⟩ of each row."""
    product: Doubles = (a * b).sum(axis=1)
    return product


def _norm(rows: Doubles) -> Doubles:
    return np.sqrt(dot(rows, rows))


def _downhill(gradient: Doubles) -> Doubles:
    """As long as any radius allows."""
    return -gradient * (LARGEST_RADIUS / np.maximum(_norm(gradient), _TINY))[:, None]
