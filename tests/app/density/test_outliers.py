from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from app.density.outliers import conformal_p_value, percentile
from app.manifest import Calibration


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
