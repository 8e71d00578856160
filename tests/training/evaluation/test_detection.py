from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.app.tiny_models import edit_manifest
from training.__main__ import main
from training.config import ConfigError
from training.evaluation.detection import auroc, in_words, kolmogorov_survival, read_calibration, uniformity
from training.evaluation.published import read_manifest

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)  # few values: many ties


@given(SCORES, SCORES)
def test_auroc_is_scikit_learn_s(inside: list[float], outside: list[float]) -> None:
    truth = [0] * len(inside) + [1] * len(outside)
    assert auroc(np.array(inside), np.array(outside)) == pytest.approx(roc_auc_score(truth, inside + outside))


def test_kolmogorov_survival_is_scipy_s() -> None:
    for x in np.linspace(0.05, 3, 60):
        assert kolmogorov_survival(x) == pytest.approx(stats.kstwobign.sf(x), abs=1e-9)


@pytest.mark.parametrize(("shift", "tolerance"), [(0.0, 0.03), (0.1, 0.03), (0.6, 1e-4)])
def test_uniformity_is_the_two_sample_test_on_what_the_p_values_rank(shift: float, tolerance: float) -> None:
    generator = np.random.default_rng(1)
    calibrated, scores = generator.normal(size=700), generator.normal(shift, 1, 500)
    p_values = np.array([(1 + (calibrated >= score).sum()) / 701 for score in scores])
    expected = stats.ks_2samp(calibrated, scores, method="asymp").pvalue
    assert uniformity(p_values, 700) == pytest.approx(expected, abs=tolerance)


def test_uniformity_is_rejected_as_often_as_its_level_says() -> None:
    generator, rejected = np.random.default_rng(0), 0
    for _ in range(400):
        calibrated, scores = np.sort(generator.normal(size=150)), generator.normal(size=80)
        p_values = (151 - np.searchsorted(calibrated, scores)) / 151
        rejected += uniformity(p_values, 150) < 0.05
    assert stats.binomtest(rejected, 400, 0.05).pvalue > 0.01


def test_words_say_failure_as_plainly_as_success() -> None:
    assert in_words("mnist", 0.9995, 1.0) == "mnist is told apart: AUROC 0.9995, 100.0% of it has p ≤ 0.05"
    assert in_words("horizontal_flip", 0.55, 0.06).startswith("horizontal flip is NOT told apart: AUROC 0.5500, 6.0%")


def test_calibration_is_held_to_its_checksum(models_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models_dir / "tiny_vae" / "1", tmp_path / "1")
    assert read_calibration(folder, read_manifest(folder)).samples == 16
    (folder / "outliers.json").write_text("{}")
    with pytest.raises(ConfigError, match="sha256"):
        read_calibration(folder, read_manifest(folder))
    edit_manifest(folder, outliers=None)
    with pytest.raises(ConfigError, match="publish its run again"):
        read_calibration(folder, read_manifest(folder))


def test_command_measures_and_draws(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, drawn = models_dir / "tiny_vae" / "1", tmp_path / "drawn"
    against = ["--against", "noise", "vertical_flip", "--images", "50", "--pictures", str(drawn)]
    assert main(["outliers", str(folder), *against]) == 0
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith(("| noise", "| vertical"))]
    assert [len(row) for row in rows] == [10, 10]
    assert float(rows[0][8]) > 0.9  # the combination, against noise
    assert "50 test images of digits; calibrated on validation, n = 60 (tails fitted on 20 others), K = 16" in said
    files = ["least_typical.png", "most_typical.png", "noise.svg", "vertical_flip.svg"]
    assert sorted(path.name for path in drawn.iterdir()) == files
    assert (drawn / "noise.svg").read_text().count("<polygon") == 2 * 8


def test_command_refuses_a_set_that_is_not_there(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outliers", str(models_dir / "tiny_vae" / "1"), "--against", "dogs", "--images", "5"]) == 1
    assert "dogs is neither a folder of pictures nor one of mnist, " in capsys.readouterr().err
    assert main(["outliers", str(models_dir / "tiny_vae" / "1"), "--against", "left_out_classes"]) == 1
    assert "trained with data.leave_out_classes" in capsys.readouterr().err
    assert main(["outliers", str(models_dir / "tiny_gan" / "1")]) == 1
    assert "published without outlier detection" in capsys.readouterr().err
