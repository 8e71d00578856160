from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from training.__main__ import main
from training.evaluation.probes import INVERSE_PENALTIES, Represented, fit_probe, principal_components, probe

DIGITS = load_digits()
PIXELS = DIGITS.images.reshape(-1, 64).astype(np.float32) / 16
TRAIN, TEST = PIXELS[:1200], PIXELS[1200:]
TRAIN_LABELS, TEST_LABELS = DIGITS.target[:1200].astype(np.int64), DIGITS.target[1200:].astype(np.int64)


def test_scaling_keeps_the_shape_and_fixes_the_size() -> None:
    scaled = Represented.scaled(TRAIN, TEST)
    assert np.abs(scaled.train.mean(axis=0)).max() < 1e-5
    assert np.square(scaled.train).mean() == pytest.approx(1, rel=1e-5)
    ratio = scaled.train.std(axis=0)[TRAIN.std(axis=0) > 0] / TRAIN.std(axis=0)[TRAIN.std(axis=0) > 0]
    assert np.ptp(ratio) < 1e-3 * ratio.mean()  # one number for all dimensions
    assert scaled.test[0] == pytest.approx((TEST[0] - TRAIN.mean(axis=0)) * ratio.mean(), abs=1e-3)


def test_principal_components_are_scikit_learn_s_up_to_size_and_sign() -> None:
    found = principal_components(TRAIN, TEST, 5).test
    expected = PCA(5, svd_solver="full").fit(TRAIN).transform(TEST)
    for ours, theirs in zip(found.T, expected.T, strict=True):
        assert abs(np.corrcoef(ours, theirs)[0, 1]) == pytest.approx(1, abs=1e-4)


def test_probe_is_the_one_that_scikit_learn_s_own_search_finds() -> None:
    represented = Represented.scaled(TRAIN, TEST)
    few = slice(0, 200)
    ours = fit_probe(represented.train[few], TRAIN_LABELS[few])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(LogisticRegression(max_iter=2000), {"C": list(INVERSE_PENALTIES)}, cv=folds)
    search.fit(represented.train[few], TRAIN_LABELS[few])
    assert search.best_params_["C"] == ours.C
    difference = ours.score(represented.test, TEST_LABELS) - search.score(represented.test, TEST_LABELS)
    assert abs(difference) < 0.005


def test_probe_error_is_the_share_of_wrong_answers_over_balanced_draws() -> None:
    represented = Represented.scaled(TRAIN, TEST)
    found = probe(represented, TRAIN_LABELS, TEST_LABELS, count=50, draws=3)
    assert len(found.errors_percent) == 3
    assert found.spread == pytest.approx(np.std(found.errors_percent, ddof=1))
    everything = probe(represented, TRAIN_LABELS, TEST_LABELS, count=None, draws=3)
    assert (everything.labels, everything.spread) == (1200, None)
    plain = LogisticRegression(max_iter=2000).fit(represented.train, TRAIN_LABELS)
    assert everything.mean == pytest.approx(100 * (1 - plain.score(represented.test, TEST_LABELS)), abs=1.5)
    assert everything.mean < found.mean


def test_one_picture_a_class_still_gives_a_probe() -> None:
    found = probe(Represented.scaled(TRAIN, TEST), TRAIN_LABELS, TEST_LABELS, count=10, draws=1)
    assert 10 < found.mean < 80


def test_evaluate_probes_codes_components_and_pixels(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(models_dir / "tiny_vae" / "1"), "--probe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| labels | codes (3) | PCA (3) | pixels (64) |"
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["100", "1,000", "1,257"]
    assert "5 balanced draws" in lines[6]


def test_model_without_codes_is_not_probed(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(models_dir / "tiny_gan" / "1"), "--probe"]) == 1
    assert "there are no codes to probe" in capsys.readouterr().err
