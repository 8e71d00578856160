"""Two questions that a single distance mixes: do samples look real, and is everything real among them?

Balls around the pictures of a set, each as wide as the distance to its k-th nearest neighbour in the set, stand for the
manifold that the set lies on. Precision and recall: Kynkäänniemi et al. 2019, "Improved precision and recall metric for
assessing generative models", eq. 1-2. Density and coverage, which outliers mislead less: Naeem et al. 2020, "Reliable
fidelity and diversity metrics for generative models", eq. 3-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from training.evaluation.bounds import Average

Features = Float[np.ndarray, "n f"]
Distances = Float32[np.ndarray, " n"]

PRECISION_NEIGHBOURS = 3
"""k of precision and recall, their authors' choice."""
DENSITY_NEIGHBOURS = 5
"""k of density and coverage, their authors' choice."""
AT_ONCE = 1000


@dataclass(frozen=True)
class Overlap:
    """How two sets lie among each other. Standard errors are over the pictures counted, with the balls given."""

    precision: Average
    """The share of samples within some real picture's ball."""
    recall: Average
    """The share of real pictures within some sample's ball."""
    density: Average
    """Real pictures' balls around a sample, in units of k: 1 where both sets have one distribution."""
    coverage: Average
    """The share of real pictures with a sample in their ball."""


def overlap(real: Features, samples: Features) -> Overlap:
    """Precision, recall, density and coverage of samples. Each set needs more pictures than the k of either pair."""
    narrow, wide = (radii(real, k) for k in (PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS))
    own = radii(samples, PRECISION_NEIGHBOURS)
    realistic, dense = [], []
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, distances in _in_parts(samples, real):
        within = distances <= wide
        realistic.append((distances <= narrow).any(axis=1))
        dense.append(within.sum(axis=1) / DENSITY_NEIGHBOURS)
        recalled |= (distances <= own[rows, None]).any(axis=0)
        covered |= within.any(axis=0)
    found = np.concatenate(realistic), recalled, np.concatenate(dense), covered
    return Overlap(*(Average.of(each.astype(np.float64)) for each in found))


def radii(features: Features, k: int) -> Distances:
    """The distance of each row to its k-th nearest other row."""
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(features.astype(np.float32))
    distances, _ = search.kneighbors()  # of the rows themselves: each is not its own neighbour
    last: Distances = distances[:, -1].astype(np.float32)
    return last


def _in_parts(samples: Features, real: Features) -> Iterator[tuple[slice, Float32[np.ndarray, "part m"]]]:
    """Every distance between a sample and a real picture, so many samples at a time."""
    for start in range(0, len(samples), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        yield rows, euclidean_distances(samples[rows].astype(np.float32), real.astype(np.float32))
