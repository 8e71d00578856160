"""Platt's calibration against logits whose odds are known, and its error against a count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.manifest import Manifest, RealismCalibration
from training.evaluation.realism import expected_calibration_error, fit_platt, foretold


def test_known_odds_are_found() -> None:
    """Logits of N(1, 1) for real pictures and N(−1, 1) for samples have odds of exp(2 · logit); here 4 times those."""
    draw = np.random.default_rng(0)
    real, made = draw.normal(1, 1, 20_000), draw.normal(-1, 1, 20_000)
    found = fit_platt(4 * real + 3, 4 * made + 3, "validation")
    assert found.slope == pytest.approx(0.5, rel=0.03)
    assert found.intercept == pytest.approx(-1.5, rel=0.05)
    assert found.images == 20_000
    assert expected_calibration_error(foretold(4 * real + 3, found), foretold(4 * made + 3, found)) < 0.01


def test_kinds_that_are_told_apart_perfectly_stay_finite() -> None:
    found = fit_platt(np.array([3.0, 4.0]), np.array([-3.0, -2.0]), "validation")
    assert 0 < found.slope < 1e3
    assert foretold(np.array([3.0]), found)[0] > 0.99


def test_logits_that_say_nothing_give_even_odds() -> None:
    found = fit_platt(np.zeros(10), np.zeros(10), "validation")
    assert foretold(np.array([0.0]), found)[0] == pytest.approx(0.5)


def test_calibration_error_is_the_gap_of_each_bin() -> None:
    """0.9 said of two, one of them real: off by 0.4; 0.1 said of two samples: off by 0.1."""
    assert expected_calibration_error(np.array([0.9]), np.array([0.9, 0.1, 0.1])) == pytest.approx(0.25)


def test_published_gan_is_calibrated(models_dir: Path) -> None:
    manifest = Manifest.model_validate_json((models_dir / "tiny_gan" / "1" / "manifest.json").read_bytes())
    assert isinstance(manifest.realism, RealismCalibration)
    assert (manifest.realism.images, manifest.realism.split) == (30, "validation, n = 30")
    assert 0 <= manifest.metrics["realism_calibration_error"].value <= 1
    assert manifest.capabilities[-1] == "refine"
