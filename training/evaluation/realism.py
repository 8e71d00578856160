"""What a discriminator's logit is worth: fitted to held-out pictures and samples, checked on test pictures and others.

Platt, "Probabilistic outputs for support vector machines" (1999), as Turner et al. (arXiv:1811.11357, section 4) do for
discriminators: an adversarial loss alone leaves them miscalibrated, and no loss but the cross-entropy promises odds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from app.manifest import Metric, RealismCalibration
from training.config import RunConfig
from training.data.splits import DataSplits, ImageSet
from training.evaluation.protocol import SEED, images_in_words
from training.evaluation.published import PublishedGraphs, drawn_labels, subset

FIRST_INDEX = 2**20
"""Of the samples that calibrate, among those of the seed: beyond all that is measured elsewhere."""
WEAK_PENALTY = 1e6
"""Inverse strength of the penalty on the slope: only there for logits that separate both kinds perfectly."""
BINS = 10

Logits = Float[np.ndarray, " n"]


def calibrate_realism(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> RealismCalibration:
    """P(real | logit) by logistic regression on validation pictures and as many samples."""
    images = subset(data.validation, config.evaluation.calibration_images)
    real, made = _logits(graphs, config, images, FIRST_INDEX)
    return fit_platt(real, made, f"validation, n = {len(images)}")


def fit_platt(real: Logits, made: Logits, split: str) -> RealismCalibration:
    """By maximum likelihood, both kinds being as many."""
    logits = np.concatenate([real, made]).astype(np.float64)
    centre, spread = logits.mean(), max(logits.std(), 1e-6)
    regression = LogisticRegression(C=WEAK_PENALTY).fit(
        ((logits - centre) / spread)[:, None], np.repeat([1, 0], [len(real), len(made)])
    )
    slope = float(regression.coef_[0, 0] / spread)
    intercept = float(regression.intercept_[0] - slope * centre)
    return RealismCalibration(slope=round(slope, 6), intercept=round(intercept, 6), images=len(real), split=split)


def calibration_error(
    graphs: PublishedGraphs, calibration: RealismCalibration, config: RunConfig, data: DataSplits
) -> dict[str, Metric]:
    """How far shares of real pictures are from what was foretold, on test pictures and further samples."""
    images = subset(data.test, config.evaluation.images)
    real, made = _logits(graphs, config, images, 2 * FIRST_INDEX)
    error = expected_calibration_error(*(foretold(logits, calibration) for logits in (real, made)))
    protocol = f"{images_in_words(images, data)} and as many samples (seed {SEED}); {BINS} bins of equal width"
    unit = "mean distance between foretold and observed shares of real pictures"
    return {"realism_calibration_error": Metric(value=round(error, 5), unit=unit, protocol=protocol)}


def foretold(logits: Logits, calibration: RealismCalibration) -> Float[np.ndarray, " n"]:
    """P(real | logit)."""
    probability: Float[np.ndarray, " n"] = np.exp(
        -np.logaddexp(0, -(calibration.slope * logits.astype(np.float64) + calibration.intercept))
    )
    return probability


def expected_calibration_error(real: Float[np.ndarray, " n"], made: Float[np.ndarray, " m"]) -> float:
    """Σ over bins of their share times |mean probability − share of real pictures| (Naeini et al. 2015)."""
    said, is_real = np.concatenate([real, made]), np.repeat([1.0, 0.0], [len(real), len(made)])
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, said - is_real, minlength=BINS)
    return float(np.abs(gaps).sum() / len(said))


def _logits(graphs: PublishedGraphs, config: RunConfig, images: ImageSet, first_index: int) -> tuple[Logits, Logits]:
    """Of pictures, and of as many samples with the same labels."""
    labels = drawn_labels(config, images)
    made = graphs.sample(len(images), latent_size=config.model.latent_size, labels=labels, first_index=first_index)
    return graphs.realism(images.pictures, images.labels), graphs.realism(made, images.labels)
