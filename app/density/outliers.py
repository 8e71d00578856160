"""How unusual a statistic is, against the held-out images that it was calibrated on."""

from __future__ import annotations

from bisect import bisect_right

from app.manifest import Calibration


def percentile(value: float, calibration: Calibration) -> float:
    """The share of calibration values at or below `value`, in percent (0 … 100)."""
    return 100 * _at_or_below(value, calibration) / len(calibration.values)


def conformal_p_value(value: float, calibration: Calibration) -> float:
    """(1 + #{calibration ≤ value}) / (n + 1), in (0, 1]: small where the image is unlike the held-out ones.

    For an image exchangeable with the n held-out ones, P(p ≤ α) ≤ α for every α: Vovk, Gammerman, Shafer, "Algorithmic
    learning in a random world" (2005); for outliers Bates et al., arXiv:2104.08279.
    """
    return (1 + _at_or_below(value, calibration)) / (len(calibration.values) + 1)


def _at_or_below(value: float, calibration: Calibration) -> int:
    return bisect_right(calibration.values, value)
