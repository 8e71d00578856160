"""What may give a picture away as unlike the training data: one number a picture and statistic, larger = stranger.

No single one is safe. A density alone calls flat pictures likely (Nalisnick et al., arXiv:1810.09136); the code, the
posterior and the gap between bounds see what it misses (Morningstar et al., "Density of states estimation", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.density.bounds import Bounds
from app.density.complexity import code_length_nats
from app.manifest import ImageSpace, OutlierStatistic

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


def strangeness(
    bounds: Sequence[Bounds],
    pictures: Bytes,
    space: ImageSpace,
    *,
    code_norms: npt.NDArray[np.floating] | None,
    typical_code_norm: float | None,
) -> dict[OutlierStatistic, Doubles]:
    """The statistics (N,) of pictures (N,H,W,C) with their bounds, and the norms (N,) of their codes where they exist.

    Logarithms of probabilities are negated; the norm counts by its distance from the typical one, above or below.
    """
    found: dict[OutlierStatistic, Doubles] = {
        "elbo_nats": np.array([-bound.elbo_nats for bound in bounds]),
        "reconstruction_nats": np.array([-bound.reconstruction_nats for bound in bounds]),
        "kl_nats": np.array([bound.kl_nats for bound in bounds]),
        "inference_gap_nats": np.array([bound.inference_gap_nats for bound in bounds]),
        "log_prior_nats": np.array([-bound.log_prior_nats for bound in bounds]),
        "complexity_nats": complexity_corrected(bounds, pictures, space),
    }
    if code_norms is not None and typical_code_norm is not None:
        found["code_norm"] = np.abs(code_norms.astype(np.float64) - typical_code_norm)
    return found


def complexity_corrected(bounds: Sequence[Bounds], pictures: Bytes, space: ImageSpace) -> Doubles:
    """−log p(x) less the picture's code length: nats by which the model needs more than a coder that knows nothing.

    Serrà et al., arXiv:1909.11480, equation 1. For a density of continuous pixels it is off by the same constant for
    every picture.
    """
    negative_log_likelihood = np.array([-bound.importance_weighted_nats for bound in bounds])
    return negative_log_likelihood - code_length_nats(pictures, space)
