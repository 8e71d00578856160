"""Sums, sweeps and prior densities of latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.manifest import PriorKind

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def combine(weights: Sequence[float] | Doubles, points: Floats) -> Floats:
    """The weighted sum (D,) of T points (T,D), summed in double precision."""
    return (np.asarray(weights, np.float64) @ points.astype(np.float64)).astype(np.float32)


def rescale_to_typical(latent: Floats) -> Floats:
    """The latent (D,) moved along its ray to the norm √D, where a standard normal's mass lies; the origin stays."""
    norm = np.linalg.norm(latent.astype(np.float64))
    return latent if norm == 0 else (latent * (math.sqrt(latent.size) / norm)).astype(np.float32)


def log_prior_nats(latents: Floats, prior: PriorKind) -> Doubles | None:
    """log p(z) in nats of each latent (N,D), as (N,); None where no formula gives it: no prior, or a learned one.

    That of a learned one is the answer of its graph, `latent_to_prior`.
    """
    if prior != "standard_normal":
        return None
    squares = np.square(latents.astype(np.float64)).sum(axis=1)
    return np.asarray(-0.5 * (squares + latents.shape[1] * math.log(2 * math.pi)))


def traverse(latent: Floats, axes: Sequence[int | Floats], *, extent: float, steps: int) -> tuple[Floats, Doubles]:
    """Sweep one latent (D,) along chosen axes, one after another, through −extent … extent.

    An axis is a dimension, which takes these values, or a displacement (D,), which is added so many times. Returns
    latents (len(axes)·steps, D), a whole sweep an axis, and the `steps` values.
    """
    values = np.linspace(-extent, extent, steps)
    latents = np.tile(latent, (len(axes), steps, 1)).astype(np.float32)
    for place, axis in enumerate(axes):
        if isinstance(axis, np.ndarray):
            latents[place] += np.outer(values, axis).astype(np.float32)
        else:
            latents[place, :, axis] = values
    return latents.reshape(-1, latent.size), values
