"""The density of pictures under every label of a conditional model, and what follows from it by Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.api.payloads import AnswerPart
from app.api.service import Limits
from app.density.labels import LabelPosterior
from app.runtime.answers import Timing
from app.runtime.model import GenerativeModel


class Joint(AnswerPart):
    """What the bounds under every label say together, by Bayes' rule: estimates all, a list by the order of `classes`.

    Each importance-weighted bound stands for log p(x|y); log p(x) = log Σ p(x|y) p(y), and p(y|x) = p(x|y) p(y) / p(x).
    """

    classes: list[str]
    log_conditional_nats: list[float]
    log_joint_nats: list[float]
    log_marginal_nats: float
    standard_error_nats: float | None
    probabilities: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class Joints:
    """Of each picture: its label's posterior, and what answers say of it."""

    posteriors: list[LabelPosterior]
    said: list[dict[str, Any]]
    timing: Timing

    @property
    def most_likely(self) -> NDArray[np.int64]:
        """argmax p(y|x) of each."""
        return np.array([found.most_likely for found in self.posteriors], np.int64)


async def joint_densities(
    pictures: NDArray[np.uint8], model: GenerativeModel, limits: Limits, samples: int, seed: int, deadline: float
) -> Joints:
    """Of pictures (N, H, W, C), from `samples` draws under each label, the same as `score` takes under one of them.

    Raises InvalidInput where samples × pictures × labels is over the limit on samples × images.
    """
    manifest = model.manifest
    limits.check_samples(samples, len(pictures) * len(manifest.classes))
    rows, timing = await model.score_labels(pictures, samples=samples, seed=seed, deadline=deadline)
    found = [
        LabelPosterior.of([bound.importance_weighted_nats for bound in row], manifest.prior_of_labels) for row in rows
    ]
    said = [
        {
            "classes": manifest.classes,
            "log_conditional_nats": each.log_conditional.tolist(),
            "log_joint_nats": each.log_joint.tolist(),
            "log_marginal_nats": each.log_marginal,
            "standard_error_nats": each.standard_error([bound.standard_error_nats for bound in row]),
            "probabilities": each.probabilities.tolist(),
        }
        for each, row in zip(found, rows, strict=True)
    ]
    return Joints(found, said, timing)
