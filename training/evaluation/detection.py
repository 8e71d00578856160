"""How well a published version tells pictures of its kind from others, measured from its files alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from app.calibration import OutlierCalibration
from app.density.outliers import OutlierDetector
from app.manifest import Manifest, OutlierStatistic
from training.config import ConfigError
from training.data.splits import ImageSet
from training.evaluation.outliers import statistics
from training.evaluation.published import PublishedGraphs

Values = Float[np.ndarray, " n"]
COMBINED = "combined"
INSIDE_SEED, OUTSIDE_SEED = 1, 2
"""Of the noise that the model's kind of pictures and the others are scored with."""
LEVEL = 0.05
"""The p-value at or below which a picture counts as found."""


@dataclass(frozen=True)
class Judged:
    """One set of pictures through the detector: larger scores are stranger."""

    scores: dict[str, Values]
    """By statistic, and `combined`."""
    p_values: Values
    """Of the combination."""
    fired: dict[OutlierStatistic, float]
    """The share of the pictures in which each statistic was the furthest out."""

    @property
    def found(self) -> float:
        """The share of pictures with a p-value of at most `LEVEL`."""
        return float((self.p_values <= LEVEL).mean())


def read_calibration(folder: Path, manifest: Manifest) -> OutlierCalibration:
    """The outlier calibration that a version's manifest lists.

    Raises ConfigError where there is none, or another, and for conditional models: p(x|y) needs a y that strange
    pictures do not have.
    """
    if manifest.classes:
        raise ConfigError(f"{folder} is a conditional model, and strange pictures have none of its labels")
    if manifest.outliers is None:
        raise ConfigError(f"{folder} was published without outlier detection: publish its run again")
    content = (folder / manifest.outliers.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.outliers.sha256:
        raise ConfigError(f"{folder / manifest.outliers.file}: its sha256 is not the manifest's")
    return OutlierCalibration.model_validate_json(content)


def judge(graphs: PublishedGraphs, calibration: OutlierCalibration, images: ImageSet, *, seed: int) -> Judged:
    """What `/score` says of the images of a set in one request with this seed."""
    detector = OutlierDetector(calibration)
    found = statistics(graphs, images, typical_code_norm=calibration.typical_code_norm, seed=seed)
    verdicts = detector.verdicts(found)
    fired = [verdict.statistic for verdict in verdicts]
    combined = detector.surprises(found).max(axis=0)
    return Judged(
        scores={**{str(name): values for name, values in found.items()}, COMBINED: combined},
        p_values=np.array([verdict.p_value for verdict in verdicts]),
        fired={name: fired.count(name) / len(fired) for name in found},
    )


def auroc(inside: Values, outside: Values) -> float:
    """P(outside > inside) + ½ P(outside = inside): 1 where every outlier is stranger than every other picture.

    The area under the ROC curve is the Mann-Whitney statistic (Hanley & McNeil, Radiology 143, 1982).
    """
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left") + np.searchsorted(ordered, outside, side="right")
    return float(below.mean() / 2 / len(inside))


def uniformity(p_values: Values, calibrated: int) -> float:
    """The Kolmogorov-Smirnov p-value of "these conformal p-values are of pictures like the `calibrated` ones".

    They are ranks among finitely many calibrated pictures, so that both samples' sizes count: the two-sample test, with
    the asymptotic law of Kolmogorov and Stephens's correction (J. R. Stat. Soc. B 32, 1970).
    """
    ordered, count = np.sort(p_values), len(p_values)
    ranks = np.round(ordered * (calibrated + 1)) - 1  # calibrated pictures that are at least as strange
    shares = ranks / calibrated
    distance = max(
        float(np.abs(np.searchsorted(ordered, ordered, side="right") / count - shares).max()),
        float(np.abs(np.searchsorted(ordered, ordered, side="left") / count - shares).max()),
    )
    effective = math.sqrt(count * calibrated / (count + calibrated))
    return kolmogorov_survival((effective + 0.12 + 0.11 / effective) * distance)


def kolmogorov_survival(x: float) -> float:
    """P(K > x) = 2 Σₖ (−1)ᵏ⁻¹ exp(−2 k² x²) of Kolmogorov's distribution."""
    if x < 0.2:  # the series converges slowly there, and the sum is 1 to twelve digits
        return 1.0
    total = math.fsum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def detection_table(inside: Judged, outside: Mapping[str, Judged]) -> str:
    """AUROC of every statistic against every set, and what of each set is found, as a Markdown table."""
    names = list(inside.scores)
    lines = [
        "| against | " + " | ".join(name.removesuffix("_nats").replace("_", " ") for name in names) + " | found |",
        "| --- |" + " ---: |" * (len(names) + 1),
    ]
    for name, judged in outside.items():
        areas = [f"{auroc(inside.scores[score], judged.scores[score]):.4f}" for score in names]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(areas)} | {judged.found:.1%} |")
    return "\n".join(lines)


def in_words(name: str, area: float, found: float) -> str:
    """One sentence on one set, the same for good news and bad."""
    verdict = (
        "is told apart"
        if area >= 0.99
        else "is mostly told apart"
        if area >= 0.9
        else "is told apart in part"
        if area >= 0.65
        else "is NOT told apart"
    )
    return f"{name.replace('_', ' ')} {verdict}: AUROC {area:.4f}, {found:.1%} of it has p ≤ {LEVEL}"
