"""From the density under each label to the joint, the marginal and the label's posterior. Pure.

log p(x|y) is estimated by the importance-weighted bound, whose exponential is an unbiased estimate of p(x|y); so what
follows by Bayes' rule are estimates too: log p(x) a lower bound in expectation, p(y|x) consistent in the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelPosterior:
    """What the densities of one image under every label say of it, in nats."""

    log_conditional: Doubles
    """log p(x|y), (classes,)."""
    log_joint: Doubles
    """log p(x,y) = log p(x|y) + log p(y), (classes,)."""
    log_marginal: float
    """log p(x) = log Σ p(x|y) p(y)."""
    probabilities: Doubles
    """p(y|x) = p(x,y) / p(x), (classes,)."""

    @classmethod
    def of(cls, log_conditional: npt.ArrayLike, prior: npt.ArrayLike) -> Self:
        """From finite log p(x|y) and positive p(y), each (classes,)."""
        conditional = np.asarray(log_conditional, np.float64)
        joint = conditional + np.log(np.asarray(prior, np.float64))
        peak = float(joint.max())
        shares = np.exp(joint - peak)  # in (0, 1], so that nothing overflows
        total = float(shares.sum())
        return cls(conditional, joint, peak + math.log(total), shares / total)

    def standard_error(self, conditionals: Sequence[float | None]) -> float | None:
        """Of log p(x), from those of each log p(x|y): Σ p(y|x) · error of y. None where one is not known.

        That is the delta method for errors that agree under all labels, which share their draws; it is never smaller
        than for independent ones.
        """
        known = [error for error in conditionals if error is not None]
        return float(self.probabilities @ np.array(known)) if len(known) == len(self.probabilities) else None

    @property
    def most_likely(self) -> int:
        """argmax p(y|x)."""
        return int(self.probabilities.argmax())
