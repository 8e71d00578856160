"""What a GAN's training is watched by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree

from training.config import DataConfig, RunConfig
from training.data.datasets import DataSplits, load_splits
from training.evaluation.judge import Judge, known_judge
from training.loops.gan_loop import train_gan
from training.loops.gan_training import GanTraining
from training.loops.gan_watch import Watch, diversity, effective_classes
from training.loops.run_folder import RunFolder

CPU = torch.device("cpu")
DATA = {"set": "digits", "size": 8}


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_splits(DataConfig.model_validate(DATA))


@pytest.fixture(scope="module")
def judge(digits: DataSplits) -> Judge:
    found = known_judge(DataConfig.model_validate(DATA), digits, Path("nowhere"))
    assert found is not None
    return found


def _config(objective: str = "non_saturating", model: Mapping[str, Any] | None = None, **optimiser: Any) -> RunConfig:
    sizes = {"latent_size": 6, "generator_channels": 8, "discriminator_channels": 8, "discriminator_batch_norm": False}
    return RunConfig.model_validate(
        {
            "name": "watched",
            "title": "Watched",
            "data": DATA,
            "model": {"family": "gan", **sizes, "objective": {"kind": objective}, **(model or {})},
            "optimiser": {"epochs": 4, "learning_rate": 2e-3, "average_decay": 0.9, **optimiser},
            "samples_every_epochs": 2,
        }
    )


def _journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def test_diversity_is_the_median_distance_to_the_nearest_other(digits: DataSplits) -> None:
    pictures = digits.train.pictures[:300]
    rows = pictures.reshape(300, -1) / 255
    nearest = KDTree(rows).query(rows, k=2)[0][:, 1] / np.sqrt(64)
    assert diversity(pictures) == pytest.approx(np.median(nearest), rel=1e-6)
    assert diversity(np.repeat(pictures[:3], 100, axis=0)) == 0


def test_effective_classes_are_their_number_where_they_are_even() -> None:
    assert effective_classes(np.arange(30) % 10) == pytest.approx(10)
    assert effective_classes(np.zeros(30, np.int64)) == pytest.approx(1)


def test_copies_of_one_picture_are_called_a_collapse(digits: DataSplits, judge: Judge) -> None:
    training = GanTraining.start(_config(), CPU)
    with torch.no_grad():
        training.average.average.projection[0].weight.zero_()  # the latent is not listened to
    sighting = Watch.of(digits, judge).look(training)
    assert sighting.numbers["diversity"] == 0
    assert sighting.numbers["classes"] < 0.2
    assert [warning.split(":")[0] for warning in sighting.warnings] == ["collapse", "collapse"]


@pytest.mark.parametrize(("objective", "said"), [("non_saturating", True), ("wasserstein", False)])
def test_discriminator_that_is_always_right_is_called_saturated_but_a_critic_is_not(
    digits: DataSplits, judge: Judge, tmp_path: Path, objective: str, said: bool
) -> None:
    config = _config(
        objective,
        {"penalty": {"wgan_gp": 0.1}},
        learning_rate=1e-9,
        discriminator_learning_rate=3e-3,
        average_decay=0.0,
    )
    _train(config, digits, tmp_path, judge)
    last = [record for record in _journal(tmp_path) if "validation_pair_accuracy" in record][-1]
    assert last["validation_pair_accuracy"] > 0.99
    assert any("saturated" in record.get("said", "") for record in _journal(tmp_path)) == said


def test_pictures_as_diverse_as_the_data_are_not_called_a_collapse(digits: DataSplits, judge: Judge) -> None:
    watch = Watch.of(digits, judge)
    drawn = digits.train.pictures[: len(watch.pictures)]

    class Perfect(Watch):
        def _draw(self, *_: object) -> np.ndarray[Any, Any]:
            return drawn

    sighting = Perfect(**vars(watch)).look(GanTraining.start(_config(), CPU))
    assert sighting.warnings == []
    assert sighting.numbers["diversity"] == pytest.approx(1, abs=0.15)
    assert sighting.numbers["classes"] == pytest.approx(1, abs=0.1)
    features = [judge.look_at(pictures).features.astype(np.float64) for pictures in (drawn, watch.pictures)]
    expected = 1000 * _squared_mmd(*features)
    assert sighting.numbers["validation_kernel_distance"] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_grids_of_the_same_noise_become_an_animation(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(), digits, tmp_path, None)
    grids = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "samples").glob("*.png"))]
    assert len(grids) == 2
    with Image.open(tmp_path / "samples.webp") as animation:
        assert animation.n_frames == 2  # type: ignore[attr-defined]
        for number, grid in enumerate(grids):
            animation.seek(number)
            assert np.array_equal(np.asarray(animation.convert("L")), grid)


@pytest.mark.parametrize("condition", ["projection", "auxiliary"])
def test_conditional_models_are_watched_under_the_classes_of_the_pictures(
    digits: DataSplits, judge: Judge, condition: str
) -> None:
    training = GanTraining.start(_config(model={"condition": condition}), CPU, classes=10)
    numbers = Watch.of(digits, judge).look(training).numbers
    assert all(np.isfinite(value) for value in numbers.values())
    assert training.net.discriminator.training


def _squared_mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The unbiased estimate under (⟨a, b⟩ / d + 1)³: Bińkowski et al. 2018, section 4."""

    def mean_kernel(a: NDArray[np.float64], b: NDArray[np.float64], *, same: bool) -> float:
        kernel = (a @ b.T / a.shape[1] + 1) ** 3
        return float((kernel.sum() - np.trace(kernel)) / (len(a) * (len(a) - 1)) if same else kernel.mean())

    return mean_kernel(x, x, same=True) + mean_kernel(y, y, same=True) - 2 * mean_kernel(x, y, same=False)


def _train(config: RunConfig, digits: DataSplits, folder: Path, judge: Judge | None) -> Any:
    run = RunFolder(folder)
    run.create(config)
    few = replace(digits, train=digits.train.take(np.arange(320)))
    return train_gan(config, few, run, device=CPU, resume=False, progress=False, judge=judge)
