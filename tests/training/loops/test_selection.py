from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import DataConfig
from training.data.digits import load_scikit_digits
from training.data.splits import DataSplits
from training.evaluation.judge import COMMITTED, Judge
from training.evaluation.kernel_distance import kernel_distance
from training.loops.selection import Selected, Selection


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_scikit_digits(DataConfig(set="digits", size=8))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.open(COMMITTED / "digits.json")


def weights_of(number: float) -> dict[str, torch.Tensor]:
    """Weights that can be told from others."""
    return {"weight": torch.tensor([[number]])}


def blurred(digits: DataSplits, share: float) -> np.ndarray:
    """Real training images, so much of each grey."""
    return (128 * share + (1 - share) * digits.train.pictures[:270].astype(np.float64)).astype(np.uint8)


def test_weights_behind_the_nearest_samples_are_kept(digits: DataSplits, judge: Judge, tmp_path: Path) -> None:
    selection = Selection(judge, digits.validation, tmp_path / "best.pt", images=5000)
    assert selection.images == len(selection.indices) == len(digits.validation)
    found = [
        selection.look(step, weights_of(float(step)), blurred(digits, share))["kernel_distance"]
        for step, share in [(10, 0.9), (20, 0.2), (30, 0.6), (40, 0.3)]
    ]
    assert found[1] == min(found)
    kept = Selected.load(tmp_path / "best.pt")
    assert (kept.step, kept.judge, kept.images) == (20, judge.code, 270)
    assert kept.metric(40).protocol.startswith("the averaged weights at step 20 of 40, ")
    assert kept.metric(40).value == pytest.approx(1000 * found[1], abs=1e-5)
    assert torch.equal(kept.weights["weight"], torch.tensor([[20.0]]))
    assert kept.distance.mean == found[1]


def test_numbers_are_the_kernel_distance_from_held_out_images(digits: DataSplits, judge: Judge, tmp_path: Path) -> None:
    selection = Selection(judge, digits.validation, tmp_path / "best.pt", images=5000)
    samples = blurred(digits, 0.5)
    wanted = kernel_distance(judge.look_at(samples).features, judge.look_at(digits.validation.pictures).features)
    numbers = selection.look(1, weights_of(1), samples)
    assert numbers["kernel_distance"] == pytest.approx(wanted.mean)
    assert numbers["kernel_distance_error"] == pytest.approx(wanted.standard_error)


def test_resumed_run_goes_on_from_the_best_until_then(digits: DataSplits, judge: Judge, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    Selection(judge, digits.validation, path, images=270).look(50, weights_of(50), blurred(digits, 0.2))
    again = Selection(judge, digits.validation, path, images=270, done_steps=60)
    again.look(70, weights_of(70), blurred(digits, 0.5))
    assert Selected.load(path).step == 50
    from_before = Selection(judge, digits.validation, path, images=270, done_steps=40)
    assert not path.exists()
    from_before.look(45, weights_of(45), blurred(digits, 0.5))
    assert Selected.load(path).step == 45
