from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.config import ConfigError, DataConfig, RunConfig
from training.data.datasets import DataSplits, load_splits
from training.data.few_labels import hide_labels
from training.data.splits import ImageSet
from training.loops import one_net
from training.loops.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.loops.few_labels_loop import train_few_labels
from training.loops.run_folder import RunFolder
from training.vae.few_labels import FewLabelsModel

CPU = torch.device("cpu")


class _Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def whole() -> DataSplits:
    """Every label told."""
    splits = load_splits(DataConfig(set="digits", size=8))
    return replace(splits, train=splits.train.take(np.arange(300)), validation=splits.validation.take(np.arange(100)))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _config(kind: str = "m1_m2", *, epochs: int = 2, **few: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "few",
            "title": "Few",
            "seed": 3,
            "data": {"set": "digits", "size": 8, "labelled_images": 40},
            "model": {
                "family": "vae",
                "nets": "dense",
                "latent_size": 4,
                "hidden": [32],
                "likelihood": "gaussian",
                "conditional": kind == "m2",
                "prior": {"kind": "mixture" if kind == "m1_m2" else "standard_normal", "components": 2},
                "objective": {"kl": "sampled"},
                "few_labels": {
                    "kind": kind,
                    "classifier_channels": [16],
                    "labelled_batch": 20,
                    "shift_pixels": 0.5,
                    **few,
                },
            },
            "optimiser": {"epochs": epochs, "batch_size": 50, "learning_rate": 5e-3, "average_decay": 0.9},
            "samples_every_epochs": epochs,
        }
    )


def _train(config: RunConfig, data: DataSplits, folder: Path, *, resume: bool = False) -> FewLabelsModel:
    run = RunFolder(folder)
    if not resume:
        run.create(config)
    return train_few_labels(config, data, run, device=CPU, resume=resume, progress=False)


def _weights(folder: Path) -> dict[str, Tensor]:
    state = load_checkpoint(RunFolder(folder).checkpoint)
    return {f"{part}.{name}": tensor for part in ("net", "average") for name, tensor in state[part].items()}


def _same(one: Path, other: Path) -> bool:
    first, second = _weights(one), _weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["m1", "m2", "m1_m2"])
def test_hidden_labels_cannot_matter(whole: DataSplits, tmp_path: Path, kind: str) -> None:
    """The same run after the labels that it was not told were shuffled; and another one after a told one changed."""
    few = hide_labels(whole, 40, seed=0)
    assert whole.train.labels is not None
    assert few.train.labels is not None
    hidden, told = np.flatnonzero(few.train.labels < 0), np.flatnonzero(few.train.labels >= 0)
    shuffled = whole.train.labels.copy()
    shuffled[hidden] = np.random.default_rng(0).permutation(shuffled[hidden])
    shuffled_few = np.full_like(shuffled, -1)
    shuffled_few[told] = shuffled[told]
    swapped = few.train.labels.copy()
    swapped[told[0]] = (swapped[told[0]] + 1) % 10
    for name, labels in {"as they are": few.train.labels, "shuffled": shuffled_few, "swapped": swapped}.items():
        data = replace(few, train=ImageSet(few.train.pictures, labels))
        _train(_config(kind), data, tmp_path / name)
    assert _same(tmp_path / "as they are", tmp_path / "shuffled")
    assert not _same(tmp_path / "as they are", tmp_path / "swapped")


def test_resumed_run_ends_in_bitwise_the_weights_of_an_unbroken_one(
    whole: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, config = hide_labels(whole, 40, seed=0), _config().model_copy(update={"checkpoint_every_s": 1e-9})
    _train(config, few, tmp_path / "unbroken")

    def dying(path: Path, state: Checkpoint) -> None:
        save_checkpoint(path, state)
        if state["step"] == 4:
            raise _Killed

    monkeypatch.setattr(one_net, "save_checkpoint", dying)
    with pytest.raises(_Killed):
        _train(config, few, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)  # a new process starts with another state
    _train(config, few, tmp_path / "broken", resume=True)
    assert _same(tmp_path / "unbroken", tmp_path / "broken")


@pytest.mark.parametrize(("kind", "error_percent"), [("m1", 80), ("m2", 45), ("m1_m2", 45)])
def test_training_finds_the_classes_and_leaves_pictures(
    whole: DataSplits, tmp_path: Path, kind: str, error_percent: float
) -> None:
    _train(_config(kind, epochs=30), hide_labels(whole, 40, seed=0), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    errors = [record["validation_error_percent"] for record in records if "validation_error_percent" in record]
    assert len(errors) == 30
    assert errors[-1] < error_percent  # 90 by chance
    elbos = [record["elbo_nats"] for record in records if "elbo_nats" in record]
    assert elbos[-1] > elbos[0]
    assert (tmp_path / "samples" / "epoch_0030.png").exists()


def test_run_without_any_label_is_refused(whole: DataSplits, tmp_path: Path) -> None:
    none = replace(whole, train=ImageSet(whole.train.pictures, np.full(300, -1)))
    with pytest.raises(ConfigError, match="few labels are still some"):
        _train(_config(), none, tmp_path)
