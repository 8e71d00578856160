"""The calibration of outlier detection: statistics of held-out pictures, scored as the service scores uploads."""

from __future__ import annotations

import base64

import numpy as np
from jaxtyping import Float, Float32

from app.calibration import OutlierCalibration, OutlierTail
from app.density.outliers import SURVIVAL, surprise
from app.density.strangeness import strangeness
from app.manifest import OutlierStatistic, Tensor
from training.config import RunConfig
from training.data.splits import DataSplits, ImageSet
from training.evaluation.published import PublishedGraphs, subset

SAMPLES = 16
"""Importance samples an image: one row of the evidence graph. The statistics are means over them, or small gaps."""
SEED = 2**62
"""Of their noise. The service draws seeds below 2⁵³, so that no picture meets the noise of a calibrated one."""
FITTING_SHARE = 0.25
FEWEST = 8
"""Validation pictures. From so few no p-value is below 1/7."""
_SMALLEST_EXCESS = 1e-6


def calibrate_outliers(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> OutlierCalibration | None:
    """Fit the tails on a quarter of random validation pictures, and calibrate on the others.

    Split conformal prediction: what was fitted saw none of the pictures that it is calibrated on, so that these and a
    new picture of the same kind are exchangeable. None where there are fewer validation pictures than that takes.
    """
    images = subset(data.validation, config.evaluation.outlier_images)
    if len(images) < FEWEST:
        return None
    norms = code_norms(graphs, images)
    fitted = round(FITTING_SHARE * len(images))
    typical = None if norms is None else float(np.median(norms[:fitted]))
    found = statistics(graphs, images, typical_code_norm=typical, seed=SEED)
    tails = tuple(fit_tail(name, values[:fitted]) for name, values in found.items())
    rows = [found[tail.statistic][fitted:] for tail in tails]
    together = np.max([surprise(row, tail) for row, tail in zip(rows, tails, strict=True)], axis=0)
    return OutlierCalibration(
        tails=tails,
        values=_as_tensor(np.sort(np.stack([*rows, together]).astype("<f4"), axis=1)),
        typical_code_norm=typical,
        samples=SAMPLES,
        seed=SEED,
        split=f"validation, n = {len(together)} (tails fitted on {fitted} others)",
    )


def statistics(
    graphs: PublishedGraphs, images: ImageSet, *, typical_code_norm: float | None, seed: int
) -> dict[OutlierStatistic, Float[np.ndarray, " n"]]:
    """The statistics of images, as the service finds them for one request with this seed (and their labels)."""
    return strangeness(
        graphs.bounds(images.pictures, samples=SAMPLES, labels=images.labels, seed=seed),
        images.pictures,
        graphs.image,
        code_norms=code_norms(graphs, images),
        typical_code_norm=typical_code_norm,
    )


def code_norms(graphs: PublishedGraphs, images: ImageSet) -> Float32[np.ndarray, " n"] | None:
    """The Euclidean norm of each image's code; None where the version does not encode."""
    if "image_to_latent" not in graphs.sessions:
        return None
    norms: Float32[np.ndarray, " n"] = np.linalg.norm(graphs.posterior(images.pictures, images.labels)["mean"], axis=1)
    return norms


def fit_tail(name: OutlierStatistic, values: Float[np.ndarray, " n"]) -> OutlierTail:
    """Quantiles of a statistic, and the mean excess over the last: the likeliest scale of an exponential tail."""
    knots = np.quantile(values, 1 - np.array(SURVIVAL))
    beyond = values[values > knots[-1]] - knots[-1]
    excess = float(beyond.mean()) if len(beyond) else 0.0
    return OutlierTail(
        statistic=name, knots=tuple(float(knot) for knot in knots), mean_excess=max(excess, _SMALLEST_EXCESS)
    )


def _as_tensor(values: Float32[np.ndarray, "rows n"]) -> Tensor:
    return Tensor(dtype="float32", shape=values.shape, base64=base64.b64encode(values.tobytes()).decode())
