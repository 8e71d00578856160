"""Directions of a latent space: supervised by what is known of pictures, by variance, and by the decoder's weights.

Every function is plain linear algebra on codes (N, D); what a direction does to pictures is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from jaxtyping import Float64, Int64

Codes = Float64[np.ndarray, "n d"]
Vector = Float64[np.ndarray, " d"]
Vectors = Float64[np.ndarray, "k d"]
Values = Int64[np.ndarray, "n a"]


def mean_difference(codes: Codes, has: Int64[np.ndarray, " n"] | np.ndarray) -> Vector:
    """The mean code where `has` is true, less the mean where it is not (Larsen et al. 2016, section 4.2)."""
    return cast(Vector, codes[has].mean(axis=0) - codes[~has].mean(axis=0))


def adjusted_differences(codes: Codes, values: Values, column: int) -> dict[int, Vector]:
    """For each value of one attribute, by how much codes differ from those of its other values, all else being equal.

    The coefficients of a least-squares fit of the codes to every attribute at once, so that what comes with another
    attribute is explained by that one. Rows with a value of −1 are left out; a value's others count alike.
    """
    known = values.min(axis=1) >= 0
    design, start = [], 0
    places: dict[int, int] = {}
    for at, attribute in enumerate(values[known].T):
        present = np.unique(attribute)
        design.append((attribute[:, None] == present).astype(np.float64))
        if at == column:
            places = {int(value): start + place for place, value in enumerate(present)}
        start += len(present)
    coefficients = np.linalg.lstsq(np.hstack(design), codes[known], rcond=None)[0]
    found = {value: coefficients[place] for value, place in places.items()}
    total = np.sum(list(found.values()), axis=0)
    return {value: own - (total - own) / (len(found) - 1) for value, own in found.items()}


def orthogonalised(vector: Vector, others: Sequence[Vector]) -> Vector:
    """What of a vector is at right angles to all others: they no longer change, to first order, along with it."""
    if not others:
        return vector
    basis, spread, _ = np.linalg.svd(np.stack(others).T, full_matrices=False)
    basis = basis[:, spread > 1e-9 * spread[0]]
    return cast(Vector, vector - basis @ (basis.T @ vector))


def principal_directions(codes: Codes, count: int) -> Vectors:
    """The directions in which codes vary most, each as long as their standard deviation along it."""
    centred = codes - codes.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    count = min(count, int((spread > 1e-6 * spread[0]).sum()))
    return cast(Vectors, axes[:count] * spread[:count, None] / np.sqrt(len(codes)))


def factorised_directions(weight: Float64[np.ndarray, "features d"], codes: Codes, count: int) -> Vectors:
    """SeFa (Shen & Zhou 2021, eq. 4): the eigenvectors of AᵀA for the weights A of the decoder's first layer.

    Along these of all unit vectors the layer's answer changes most; the largest come first. Each is as long as the
    standard deviation of codes along it.
    """
    _, axes = np.linalg.eigh(weight.T @ weight)  # ascending
    axes = axes.T[::-1][:count]
    return cast(Vectors, axes * (codes @ axes.T).std(axis=0)[:, None])
