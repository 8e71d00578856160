"""The kernel distance: the squared maximum mean discrepancy (MMD) of two sets of features under a cubic kernel.

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4. In features of the Inception network it is called KID. Unlike
the Fréchet distance, the estimate has no bias, however few pictures there are; it can come out below zero.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64

from training.evaluation.bounds import Average

Features = Float[np.ndarray, "n f"]
Counts = Float64[np.ndarray, "resamples n"]
Sums = Float64[np.ndarray, " n"]

AT_ONCE = 1000
"""Rows of the kernel's matrix that are in memory at a time."""


def kernel_distance(first: Features, second: Features) -> Average:
    """The unbiased estimate over all pairs (Gretton et al. 2012, eq. 3), with its jackknife standard error.

    The jackknife leaves out each row of each set in turn. Of such a statistic its variance is too large rather than too
    small (Efron & Stein 1981): about twice the true one where both sets have the same distribution.

    Raises ValueError where a set has fewer than three rows.
    """
    n, m = len(first), len(second)
    if min(n, m) < 3:
        raise ValueError(f"an unbiased estimate and its error need three rows of each set, got {n} and {m}")
    ones, others = np.ones((1, n)), np.ones((1, m))
    within = _kernel_times(first, first, ones, same=True)[:, 0], _kernel_times(second, second, others, same=True)[:, 0]
    across = _kernel_times(first, second, others)[:, 0], _kernel_times(second, first, ones)[:, 0]
    means = (float(sums.sum() / (len(sums) * (len(sums) - 1))) for sums in within)
    found = sum(means) - 2 * float(across[0].sum()) / (n * m)
    variance = sum(
        _jackknife_variance(_without_each(inside, crossing, n * m))
        for inside, crossing in zip(within, across, strict=True)
    )
    return Average(found, math.sqrt(variance))


def kernel_distances(first: Features, second: Features, ours: Counts, theirs: Counts) -> Float64[np.ndarray, " r"]:
    """The distance between resamples, whose rows are taken so often.

    Pairs of a row with itself are left out, also where a resample holds it twice: they would look like a likeness.
    """
    within = _within(first, ours) + _within(second, theirs)
    crossing = (ours * _kernel_times(first, second, theirs).T).sum(axis=1)
    found: Float64[np.ndarray, " r"] = within - 2 * crossing / (ours.sum(axis=1) * theirs.sum(axis=1))
    return found


def _within(features: Features, counts: Counts) -> Float64[np.ndarray, " r"]:
    """The mean kernel of pairs of two different rows."""
    sums = (counts * _kernel_times(features, features, counts, same=True).T).sum(axis=1)
    mean: Float64[np.ndarray, " r"] = sums / (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1))
    return mean


def _without_each(inside: Sums, crossing: Sums, pairs: int) -> Sums:
    """The terms of the distance that a set takes part in, without each of its rows in turn.

    `inside` are the sums of a row's kernel with the others of its set, `crossing` those with the other set's rows.
    """
    rows, total = len(inside), float(inside.sum())
    left_within = (total - 2 * inside) / ((rows - 1) * (rows - 2))
    left_between = (crossing.sum() - crossing) / (pairs - pairs / rows)
    left: Sums = left_within - 2 * left_between
    return left


def _jackknife_variance(left_out: Sums) -> float:
    return float((len(left_out) - 1) * left_out.var())


def _kernel_times(
    first: Features, second: Features, counts: Counts, *, same: bool = False
) -> Float64[np.ndarray, "n r"]:
    """K countsᵀ, K = (x·y / F + 1)³ for every row x of `first` and y of `second`; `same` leaves the diagonal out."""
    ours, theirs = (part.astype(np.float64, copy=False) for part in (first, second))
    found = np.empty((len(ours), len(counts)))
    for start in range(0, len(ours), AT_ONCE):
        kernel = ours[start : start + AT_ONCE] @ theirs.T / ours.shape[1] + 1
        kernel *= kernel * kernel
        if same:
            np.fill_diagonal(kernel[:, start:], 0)
        found[start : start + AT_ONCE] = kernel @ counts.T
    return found
