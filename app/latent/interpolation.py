"""Walks through latent space: frames along straight or spherical legs between points."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.manifest import PriorKind

PathKind = Literal["linear", "spherical"]
Path = Literal["linear", "spherical", "prior"]
"""What was walked: a `PathKind` in latent space, or an arc through the noise that the prior makes latents of."""
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_DEGENERATE_SINE = 1e-6
"""Below this sine of the angle between two ends, no great circle through both is well defined."""


def choose_path(path: Literal["auto"] | Path, prior: PriorKind) -> Path:
    """What `auto` means: spherical where the prior is a standard normal, whose mass lies in a shell; else linear.

    Where the latent is its own noise, the walk through the noise is the spherical one.
    """
    if prior == "standard_normal" and path in ("auto", "prior"):
        return "spherical"
    return "linear" if path == "auto" else path


def walk(points: Floats, steps: int, *, path: PathKind, loop: bool = False) -> Floats:
    """Latents (F,D) along the legs between neighbouring `points` (P,D), `steps` ≥ 2 a leg with both its ends.

    Ends are exact, and shared ends appear once: F = (P−1)(steps−1) + 1. With `loop` a last leg leads back to the first
    point, which is not repeated: F = P(steps−1).
    """
    ends = np.concatenate([points, points[:1]]) if loop else points
    fractions = np.arange(steps - 1, dtype=np.float64) / (steps - 1)
    legs = [_leg(start, end, fractions, path) for start, end in pairwise(ends)]
    frames = np.concatenate([*legs, ends[-1:]])
    return frames[:-1] if loop else frames


def _leg(start: Floats, end: Floats, fractions: Doubles, path: PathKind) -> Floats:
    """The frames of one leg but its end; the first is `start` itself."""
    weights = _spherical_weights(start, end, fractions) if path == "spherical" else _linear_weights(fractions)
    frames = (weights @ np.stack([start, end]).astype(np.float64)).astype(np.float32)
    frames[0] = start
    return frames


def _linear_weights(fractions: Doubles) -> Doubles:
    return np.stack([1 - fractions, fractions], axis=1)


def _spherical_weights(start: Floats, end: Floats, fractions: Doubles) -> Doubles:
    """Shares of start and end (F,2): sin((1−t)ω)/sin ω and sin(tω)/sin ω, ω the angle between the two.

    Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985); for latents White, arXiv:1609.04468. Where
    an end is the origin, or both point the same or opposite ways, there is no such arc, and the leg is straight.
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / norms, -1, 1)) if norms > 0 else 0.0
    sine = np.sin(angle)
    if sine < _DEGENERATE_SINE:
        return _linear_weights(fractions)
    return np.stack([np.sin((1 - fractions) * angle) / sine, np.sin(fractions * angle) / sine], axis=1)
