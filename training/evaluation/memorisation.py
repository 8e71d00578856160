"""Are samples copies of training pictures? Their nearest training pictures, beside those of test pictures.

A test picture was never trained on, so how near it comes to some training picture is chance. Samples that come nearer
than that were copied: the three-sample test of Meehan et al. 2020, "A non-parametric test to detect data-copying in
generative models", whose statistic is here a probability instead of a z-score, so that it does not grow with n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from sklearn.neighbors import NearestNeighbors

from training.evaluation.bounds import Average

Rows = Float[np.ndarray, "n f"]
Values = Float64[np.ndarray, " n"]

COPY_QUANTILE = 0.01
"""Of test pictures this share comes as near to a training picture as what is called a copy."""


@dataclass(frozen=True)
class Memorisation:
    """How samples lie to the training pictures, against how test pictures do."""

    nearer: Average
    """The probability that a sample is nearer to its nearest training picture than a test picture to its own: ½ where
    samples are as new as test pictures, 1 where they are copies, less than ½ where they are further from the data."""
    copies: Average
    """The share of samples that are nearer than all but `COPY_QUANTILE` of the test pictures are."""


def memorisation(samples: Rows, test: Rows, train: Rows) -> Memorisation:
    """Compare the nearest training picture of samples with that of test pictures, all as rows of numbers."""
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train.astype(np.float32))
    ours, theirs = (search.kneighbors(rows.astype(np.float32))[0][:, 0].astype(np.float64) for rows in (samples, test))
    copied = ours < np.quantile(theirs, COPY_QUANTILE)
    return Memorisation(probability_below(ours, theirs), Average.of(copied.astype(np.float64)))


def probability_below(first: Values, second: Values) -> Average:
    """P(a < b) + ½ P(a = b) for a of `first` and b of `second`: the Mann-Whitney statistic, as a share of all pairs.

    Its standard error is that of DeLong et al. 1988, eq. 4-6.
    """
    above, below = _share_above(first, second), 1 - _share_above(second, first)
    variance = sum(float(shares.var(ddof=1)) / len(shares) for shares in (above, below) if len(shares) > 1)
    return Average(float(above.mean()), math.sqrt(variance))


def _share_above(values: Values, others: Values) -> Values:
    """For each value the share of the others that are larger, those that equal it counting half."""
    ordered = np.sort(others)
    up_to, under = (np.searchsorted(ordered, values, side=side) for side in ("right", "left"))
    shares: Values = 1 - (up_to + under) / (2 * len(others))
    return shares
