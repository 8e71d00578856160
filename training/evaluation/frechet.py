"""The Fréchet distance: how far two sets of features are apart, had each a Gaussian's distribution.

Heusel et al. 2017, "GANs trained by a two time-scale update rule", eq. 6 (Dowson & Landau 1982). In features of the
Inception network it is called FID; in those of another network it is another distance, and is called by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Float64

from training.evaluation.bounds import Average
from training.evaluation.resampling import resample_counts

RESAMPLES = 50
"""Behind a standard error: it is then right to about a tenth."""

Counts = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Moments:
    """All that the distance looks at."""

    mean: Float64[np.ndarray, " f"]
    covariance: Float64[np.ndarray, "f f"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n f"], counts: Counts | None = None) -> Self:
        """The mean and the unbiased covariance of two or more rows, each taken `counts` times where that is given."""
        rows = features.astype(np.float64, copy=False)
        often = np.ones(len(rows)) if counts is None else counts
        total = often.sum()
        mean = often @ rows / total
        centred = rows - mean
        return cls(mean, (centred * often[:, None]).T @ centred / (total - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½): the squared 2-Wasserstein distance between the two Gaussians.

    tr (Σ₁ Σ₂)^½ is computed as the sum of the singular values of Σ₁^½ Σ₂^½, which is real and needs no square root of
    a matrix that is not symmetric, nor anything added to singular covariances.
    """
    apart = np.square(first.mean - second.mean).sum()
    roots = _root(first.covariance) @ _root(second.covariance)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    return float(apart + np.trace(first.covariance) + np.trace(second.covariance) - 2 * overlap)


def frechet_between(first: Float[np.ndarray, "n f"], second: Float[np.ndarray, "m f"]) -> Average:
    """The distance between two sets of features, with its bootstrap standard error from both."""
    found = frechet_distance(Moments.of(first), Moments.of(second))
    counts = [resample_counts(len(part), RESAMPLES, which=which) for which, part in enumerate((first, second))]
    again = [
        frechet_distance(Moments.of(first, ours), Moments.of(second, theirs))
        for ours, theirs in zip(*counts, strict=True)
    ]
    return Average(found, float(np.std(again, ddof=1)))


def _root(covariance: Float64[np.ndarray, "f f"]) -> Float64[np.ndarray, "f f"]:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    root: Float64[np.ndarray, "f f"] = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
