from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.training.tiny_runs import TINY_AUTOENCODER, TINY_VAE
from training.autoencoder.model import Autoencoder
from training.config import RunConfig
from training.data.datasets import DataSplits, load_splits
from training.loops import one_net
from training.loops.autoencoder_loop import train_autoencoder
from training.loops.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.loops.run_folder import RunFolder
from training.loops.watched import observed

CPU = torch.device("cpu")


class _Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    splits = load_splits(RunConfig.model_validate(TINY_AUTOENCODER).data)
    train, validation = splits.train.take(np.arange(160)), splits.validation.take(np.arange(70))
    return DataSplits("digits", train, validation, splits.test, splits.classes, splits.sha256)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"nets": "linear", "reconstruction": "squared_error", "sparsity": {"kind": "l1"}},
        {"nets": "convolutional", "channels": [4, 6], "corruption": {"kind": "masking"}},
    ],
    ids=["dense, top-k", "linear, l1", "convolutional, masking"],
)
def test_resumed_run_ends_in_bitwise_the_weights_of_an_unbroken_one(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    def save_and_die(path: Path, state: Checkpoint) -> None:
        save_checkpoint(path, state)
        if state["step"] == 4:
            raise _Killed

    config = _config(model=model)
    _train(config, digits, tmp_path / "unbroken")
    monkeypatch.setattr(one_net, "save_checkpoint", save_and_die)
    with pytest.raises(_Killed):
        _train(config, digits, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)  # a new process starts with another state
    _train(config, digits, tmp_path / "broken", resume=True)
    unbroken, resumed = (load_checkpoint(RunFolder(tmp_path / name).checkpoint) for name in ("unbroken", "broken"))
    for part in ("net", "average"):
        assert [name for name, tensor in unbroken[part].items() if not torch.equal(tensor, resumed[part][name])] == []


def test_denoising_lowers_the_error_and_the_journal_shows_it(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(optimiser={"epochs": 25}), digits, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    errors = [record["validation_reconstruction_error"] for record in records if len(record) == 2]
    assert len(errors) == 25
    assert errors[-1] < 0.9 * errors[0]
    assert [record["step"] for record in records if "sparsity_penalty" in record] == [50, 100]


def test_l1_penalty_empties_codes(digits: DataSplits, tmp_path: Path) -> None:
    def trained(weight: float) -> Tensor:
        sparsity = {"kind": "l1", "weight": weight}
        model = {"nets": "linear", "reconstruction": "squared_error", "sparsity": sparsity, "latent_size": 30}
        config = _config(model=model, optimiser={"epochs": 40, "learning_rate": 1e-2})
        net = _train(config, digits, tmp_path / f"{weight}")
        return net.encode(observed(digits.test.pictures, None)).detach()

    light, heavy = trained(1e-6), trained(1.0)
    assert float((heavy > 0).float().mean()) < 0.6 * float((light > 0).float().mean())


def test_pictures_show_clean_spoilt_and_reconstructed_and_the_codes(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(), digits, tmp_path)
    assert sorted(path.name for path in (tmp_path / "reconstructions").iterdir()) == [
        "epoch_0002.png",
        "epoch_0003.png",
    ]
    with Image.open(tmp_path / "reconstructions" / "epoch_0003.png") as grid:
        assert grid.size == (12 * 8, 16 * 8)
        first = np.asarray(grid)[:8, :8]
    np.testing.assert_array_equal(first, digits.validation.pictures[0, :, :, 0])
    assert {"latent_map.png", "aggregate_posterior.png"} <= {path.name for path in tmp_path.iterdir()}


def test_loop_refuses_the_configuration_of_another_family(digits: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="vae"):
        _train(RunConfig.model_validate(TINY_VAE), digits, tmp_path)


def _config(**changes: dict[str, Any]) -> RunConfig:
    """TINY_AUTOENCODER for three epochs of five steps, with a checkpoint after every step."""
    document = TINY_AUTOENCODER | {"checkpoint_every_s": 1e-9}
    optimiser = document["optimiser"] | {"batch_size": 32, "epochs": 3} | changes.pop("optimiser", {})
    merged = {section: document[section] | values for section, values in changes.items()}
    return RunConfig.model_validate(document | merged | {"optimiser": optimiser})


def _train(config: RunConfig, data: DataSplits, folder: Path, *, resume: bool = False) -> Autoencoder:
    run = RunFolder(folder)
    run.create(config)
    return train_autoencoder(config, data, run, device=CPU, resume=resume, progress=False)
