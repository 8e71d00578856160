from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from app.calibration import OutlierCalibration, OutlierTail
from app.density.outliers import (
    SURVIVAL,
    OutlierDetector,
    benjamini_hochberg,
    conformal_p_value,
    percentile,
    surprise,
)
from app.manifest import Calibration, OutlierStatistic, Tensor


def calibration(*values: float) -> Calibration:
    return Calibration(statistic="elbo_nats", values=values, samples=1, split="held out")


@pytest.mark.parametrize(("value", "share"), [(-9, 0), (1, 25), (2, 75), (2.5, 75), (3, 100), (9, 100)])
def test_percentile_agrees_with_scipy(value: float, share: float) -> None:
    values = (1.0, 2.0, 2.0, 3.0)
    assert percentile(value, calibration(*values)) == share == stats.percentileofscore(values, value, kind="weak")


@pytest.mark.parametrize(("value", "p_value"), [(-9, 1 / 5), (1, 2 / 5), (2, 4 / 5), (9, 1)])
def test_conformal_p_value_counts_itself(value: float, p_value: float) -> None:
    assert conformal_p_value(value, calibration(1, 2, 2, 3)) == p_value


def test_conformal_p_value_of_exchangeable_values_is_uniform() -> None:
    draws = np.random.default_rng(0).standard_normal((4000, 20))
    p_values = [conformal_p_value(row[0], calibration(*np.sort(row[1:]))) for row in draws]
    counts = np.bincount(np.rint(np.array(p_values) * 20).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.01


def detector(values: NDArray[np.float64]) -> OutlierDetector:
    """Two statistics with standard exponential tails, calibrated on values (2, n)."""
    knots = tuple(float(knot) for knot in -np.log(SURVIVAL))
    tails = tuple(OutlierTail(statistic=name, knots=knots, mean_excess=1.0) for name in ("kl_nats", "complexity_nats"))
    rows = np.sort(np.vstack([values, np.maximum(values, 0).max(axis=0)]).astype("<f4"), axis=1)
    return OutlierDetector(
        OutlierCalibration(
            tails=tails,
            values=Tensor(dtype="float32", shape=rows.shape, base64=base64.b64encode(rows.tobytes()).decode()),
            typical_code_norm=None,
            samples=4,
            seed=0,
            split="held out",
        )
    )


def found(*values: float) -> dict[OutlierStatistic, NDArray[np.float64]]:
    return {"kl_nats": np.array(values[:1]), "complexity_nats": np.array(values[1:])}


def test_verdict_counts_the_calibrated_values_at_or_above() -> None:
    (verdict,) = detector(np.array([[1.0, 2, 3], [5, 6, 7]])).verdicts(found(2.0, 6.5))
    assert verdict.p_values == {"kl_nats": 3 / 4, "complexity_nats": 2 / 4}
    assert (verdict.p_value, verdict.statistic) == (2 / 4, "complexity_nats")


def test_surprise_of_a_standard_exponential_is_its_value() -> None:
    values = np.random.default_rng(3).exponential(size=200)
    tail = OutlierTail(statistic="kl_nats", knots=tuple(map(float, -np.log(SURVIVAL))), mean_excess=1.0)
    np.testing.assert_allclose(surprise(values, tail), values, rtol=1e-12)


def test_combined_p_value_of_exchangeable_pictures_is_exactly_uniform() -> None:
    """With n calibrated pictures every p-value of k / (n + 1) is equally likely: the finite-sample law, no limit."""
    generator, counts = np.random.default_rng(0), np.zeros(21)
    for _ in range(2000):
        draws = generator.standard_normal((2, 21)) * [[1], [2]] + generator.standard_normal(21)
        (verdict,) = detector(draws[:, 1:]).verdicts(found(*draws[:, 0]))
        if verdict.p_value < 1:  # both statistics below every knot: ties, which p = 1 collects
            counts[round(21 * verdict.p_value) - 1] += 1
    assert stats.chisquare(counts[:8]).pvalue > 0.01
    assert (np.cumsum(counts) / 2000 <= np.arange(1, 22) / 21 + 0.02).all()


def test_no_share_of_rejections_exceeds_its_level_whatever_the_tails_are() -> None:
    """Tails fitted on other data only move power: P(p ≤ α) ≤ α holds all the same."""
    generator, rejected = np.random.default_rng(1), 0
    for _ in range(1500):
        draws = generator.standard_cauchy((2, 20)) * 50
        (verdict,) = detector(draws[:, 1:]).verdicts(found(*draws[:, 0]))
        rejected += verdict.p_value <= 0.1
    assert stats.binomtest(rejected, 1500, 0.1, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("values", [np.array([[2.0, 1], [3, 4]]), np.zeros((2, 0))])
def test_detector_refuses_values_that_are_not_sorted(values: NDArray[np.float64]) -> None:
    calibrated = np.vstack([values, values[:1]]).astype("<f4")
    text = base64.b64encode(calibrated.tobytes()).decode()
    good = detector(np.array([[1.0, 2], [3, 4]]))._calibration
    bad = good.model_copy(update={"values": Tensor(dtype="float32", shape=calibrated.shape, base64=text)})
    with pytest.raises(ValueError, match="sorted"):
        OutlierDetector(bad)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=30))
def test_q_values_are_scipy_s(p_values: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values), rtol=1e-12)


def test_q_values_of_no_pictures_are_none() -> None:
    assert benjamini_hochberg([]) == []


def test_share_of_false_discoveries_stays_below_the_level() -> None:
    """80 pictures like the calibrated ones and 20 that are not, judged by one shared calibration set."""
    generator, shares = np.random.default_rng(2), []
    for _ in range(150):
        judge = detector(generator.standard_normal((2, 400)))
        batch = generator.standard_normal((2, 100)) + np.where(np.arange(100) < 80, 0, 6)
        verdicts = judge.verdicts({"kl_nats": batch[0], "complexity_nats": batch[1]})
        called = np.array(benjamini_hochberg([verdict.p_value for verdict in verdicts])) <= 0.2
        shares.append(called[:80].sum() / max(called.sum(), 1))
    assert np.mean(shares) < 0.2
    assert np.mean(shares) > 0.1  # and not by calling nothing
