from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from app.calibration import OutlierCalibration, OutlierTail
from app.density.outliers import OutlierDetector, surprise
from training.config import read_config
from training.data.datasets import load_splits
from training.data.splits import DataSplits, ImageSet
from training.evaluation.outliers import SAMPLES, SEED, calibrate_outliers, fit_tail, statistics
from training.evaluation.published import PublishedGraphs, read_manifest, subset


@pytest.fixture(scope="module")
def folder(models_dir: Path) -> Path:
    return models_dir / "tiny_vae" / "1"


@pytest.fixture(scope="module")
def graphs(folder: Path) -> PublishedGraphs:
    return PublishedGraphs.open(folder, read_manifest(folder))


@pytest.fixture(scope="module")
def digits(folder: Path) -> DataSplits:
    return load_splits(read_config(folder / "run.toml").data)


@pytest.fixture(scope="module")
def published(folder: Path) -> OutlierCalibration:
    return OutlierCalibration.model_validate_json((folder / "outliers.json").read_bytes())


def test_published_calibration_is_of_validation_pictures(
    published: OutlierCalibration, graphs: PublishedGraphs, digits: DataSplits
) -> None:
    assert (published.samples, published.seed) == (SAMPLES, SEED)
    assert published.split == "validation, n = 60 (tails fitted on 20 others)"
    values = np.frombuffer(base64.b64decode(published.values.base64), "<f4").reshape(published.values.shape)
    found = statistics(graphs, subset(digits.validation, 80), typical_code_norm=published.typical_code_norm, seed=SEED)
    assert [tail.statistic for tail in published.tails] == list(found)
    for row, again in zip(values, found.values(), strict=False):
        np.testing.assert_allclose(row, np.sort(again[20:]), rtol=1e-5, atol=1e-3)


def test_calibration_needs_some_validation_pictures(folder: Path, graphs: PublishedGraphs, digits: DataSplits) -> None:
    few = replace(digits, validation=ImageSet(digits.validation.pictures[:7], None))
    assert calibrate_outliers(graphs, read_config(folder / "run.toml"), few) is None


def test_pictures_that_are_no_digits_are_far_out(
    published: OutlierCalibration, graphs: PublishedGraphs, digits: DataSplits
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    detector = OutlierDetector(published)
    outside, inside = (
        detector.verdicts(statistics(graphs, images, typical_code_norm=published.typical_code_norm, seed=1))
        for images in (ImageSet(noise, None), subset(digits.test, 60))
    )
    assert np.mean([verdict.p_value for verdict in outside]) < 0.1
    assert np.mean([verdict.p_value for verdict in inside]) > 0.3


def test_tail_of_an_exponential_statistic_is_the_truth() -> None:
    values = np.random.default_rng(0).exponential(3.0, 40_000)
    tail = fit_tail("kl_nats", values)
    assert tail.mean_excess == pytest.approx(3.0, rel=0.05)
    points = np.array([0.5, 4.0, 9.0, 30.0])
    np.testing.assert_allclose(surprise(points, tail), -stats.expon(scale=3.0).logsf(points), rtol=0.08)


def test_tail_of_equal_values_is_finite() -> None:
    tail = fit_tail("kl_nats", np.full(5, 2.0))
    assert isinstance(tail, OutlierTail)
    assert np.isfinite(surprise(np.array([-1.0, 2.0, 3.0]), tail)).all()
