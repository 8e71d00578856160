"""How unusual a picture is, against the held-out images that the statistics were calibrated on: conformal p-values."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.calibration import OutlierCalibration, OutlierTail
from app.density.bounds import Bounds
from app.density.strangeness import strangeness
from app.manifest import Calibration, ImageSpace, OutlierStatistic

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

SURVIVAL = (1.0, 0.75, 0.5, 0.25, 0.1, 0.05)
"""The shares of the fitting images whose statistic is at or above each knot of an `OutlierTail`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the calibration says of one picture."""

    p_value: float
    """Of all statistics together: P(p ≤ α) ≤ α for a picture like the held-out ones."""
    statistic: OutlierStatistic
    """The one that is furthest out: it fired, where the p-value is small."""
    p_values: dict[OutlierStatistic, float]
    """Of each statistic alone."""


class OutlierDetector:
    """A version's calibration, ready to judge pictures. Raises ValueError where it is not one."""

    def __init__(self, calibration: OutlierCalibration) -> None:
        self._calibration = calibration
        raw = np.frombuffer(base64.b64decode(calibration.values.base64), "<f4")
        self._sorted: Floats = raw.reshape(calibration.values.shape)  # a row a statistic, the last their combination
        if not self._sorted.size or not (np.diff(self._sorted) >= 0).all():
            raise ValueError("the calibrated values must be sorted ascending, and there must be some")

    @property
    def samples(self) -> int:
        """Importance samples an image that every statistic is taken over: no more and no fewer."""
        return self._calibration.samples

    @property
    def needs_codes(self) -> bool:
        """Whether the norm of the code is among the statistics."""
        return self._calibration.typical_code_norm is not None

    def judge(
        self, bounds: Sequence[Bounds], pictures: Bytes, space: ImageSpace, codes: Floats | None
    ) -> list[Verdict]:
        """Verdicts on pictures (N,H,W,C) with bounds from `samples` draws each and codes (N,D), if it needs them."""
        found = strangeness(
            bounds,
            pictures,
            space,
            code_norms=None if codes is None else np.linalg.norm(codes, axis=1),
            typical_code_norm=self._calibration.typical_code_norm,
        )
        return self.verdicts(found)

    def verdicts(self, found: Mapping[OutlierStatistic, Doubles]) -> list[Verdict]:
        """Verdicts from the statistics (N,) themselves."""
        names = [tail.statistic for tail in self._calibration.tails]
        surprises = self.surprises(found)
        alone = [_p_values(found[name], row) for name, row in zip(names, self._sorted[:-1], strict=True)]
        together = _p_values(surprises.max(axis=0), self._sorted[-1])
        return [
            Verdict(
                p_value=float(together[i]),
                statistic=names[int(surprises[:, i].argmax())],
                p_values={name: float(p_values[i]) for name, p_values in zip(names, alone, strict=True)},
            )
            for i in range(len(together))
        ]

    def surprises(self, found: Mapping[OutlierStatistic, Doubles]) -> Doubles:
        """−log of how often the fitting images are as strange, (statistics, N). The largest is the combined score."""
        return np.stack([surprise(found[tail.statistic], tail) for tail in self._calibration.tails])


def surprise(values: Doubles, tail: OutlierTail) -> Doubles:
    """−log P(statistic ≥ value), linear between the knots and in the exponential tail beyond the last one.

    The tail keeps extremes apart that an empirical distribution would call equally rare. Where it is wrong, a statistic
    has too much or too little say in the combination, which is calibrated on other images and stays valid.
    """
    last = tail.knots[-1]
    within = np.interp(values, tail.knots, -np.log(SURVIVAL))
    return within + np.maximum(values - last, 0) / tail.mean_excess


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """q-values: calling all images with q ≤ α outliers keeps the expected share of false calls at or below α.

    Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995), as adjusted p-values. Conformal p-values that share one
    calibration set depend on each other, but positively, so that the procedure still holds: Bates, Candès, Lei, Romano,
    Sesia, "Testing for outliers with conformal p-values", Ann. Stat. 51 (2023), theorem 2.
    """
    ordered = np.argsort(p_values, kind="stable")[::-1]
    count = len(p_values)
    ranks = np.arange(count, 0, -1)
    adjusted = np.minimum.accumulate(np.asarray(p_values, np.float64)[ordered] * count / ranks)
    q_values = np.empty(count)
    q_values[ordered] = np.minimum(adjusted, 1)
    return [float(q_value) for q_value in q_values]


def percentile(value: float, calibration: Calibration) -> float:
    """The share of calibration values at or below `value`, in percent (0 … 100)."""
    return 100 * _at_or_below(value, calibration) / len(calibration.values)


def conformal_p_value(value: float, calibration: Calibration) -> float:
    """(1 + #{calibration ≤ value}) / (n + 1), in (0, 1]: small where the image is unlike the held-out ones.

    For an image exchangeable with the n held-out ones, P(p ≤ α) ≤ α for every α: Vovk, Gammerman, Shafer, "Algorithmic
    learning in a random world" (2005); for outliers Bates et al., arXiv:2104.08279.
    """
    return (1 + _at_or_below(value, calibration)) / (len(calibration.values) + 1)


def _p_values(values: Doubles, calibrated: Floats) -> Doubles:
    """(1 + #{calibrated ≥ value}) / (n + 1), of calibrated values sorted ascending; compared as float32, as stored."""
    below = np.searchsorted(calibrated, values.astype(np.float32), side="left")
    p_values: Doubles = (1 + len(calibrated) - below) / (len(calibrated) + 1)
    return p_values


def _at_or_below(value: float, calibration: Calibration) -> int:
    return bisect_right(calibration.values, value)
