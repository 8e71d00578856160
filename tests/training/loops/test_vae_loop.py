from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.training.killed import Killed, dying_after
from tests.training.layer_seeds import seeds_of_layers
from tests.training.tiny_runs import TINY_GAN, TINY_VAE
from training.config import DataConfig, RunConfig
from training.data.datasets import DataSplits, load_splits
from training.loops import one_net, vae_loop
from training.loops.checkpoint import load_checkpoint
from training.loops.run_folder import RunFolder
from training.loops.schedule import step_generator
from training.loops.vae_loop import VaeTraining, train_vae
from training.loops.vae_pictures import draw_samples
from training.loops.watched import observed
from training.vae.model import VariationalAutoencoder
from training.vae.objective import Signal

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    splits = load_splits(DataConfig(set="digits", size=8))
    train, validation = splits.train.take(np.arange(160)), splits.validation.take(np.arange(60))
    return DataSplits("digits", train, validation, splits.test, splits.classes, splits.sha256)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("interrupted_at", [3, 5])  # within an epoch and at the end of one
@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"binarise": True}, "model": {"likelihood": "bernoulli", "conditional": True}},
        {
            "model": {"nets": "convolutional", "channels": [4, 8], "dropout": 0.2},
            "optimiser": {"precision": "bfloat16"},
        },
        {
            "model": {
                "prior": {"kind": "flow", "couplings": 2, "hidden": 8},
                "posterior": {"kind": "flow", "couplings": 2, "hidden": 8},
                "objective": {
                    "kl": "sampled",
                    "estimator": "doubly_reparameterised",
                    "importance_weighted_share": 0.7,
                },
            },
            "optimiser": {"precision": "bfloat16"},
        },
        {
            "model": {
                "nets": "ladder",
                "channels": [4, 6],
                "latent_size": 24,
                "ladder": {"layers": [1, 1], "latent_channels": [1, 2]},
                "objective": {"kl": "sampled", "free_bits": 0.5, "warmup_epochs": 2},
            },
            "optimiser": {"precision": "bfloat16"},
        },
    ],
    ids=[
        "dense, binarised, conditional",
        "convolutional, dropout, bfloat16",
        "flows, importance-weighted from step 4 of 15",
        "ladder",
    ],
)
def test_resumed_run_ends_in_bitwise_the_weights_of_an_unbroken_one(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: int, changes: dict[str, Any]
) -> None:
    config = _config(**changes)
    _train(config, digits, tmp_path / "unbroken")
    monkeypatch.setattr(one_net, "save_checkpoint", dying_after(interrupted_at))
    with pytest.raises(Killed):
        _train(config, digits, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)  # a new process starts with another state
    _train(config, digits, tmp_path / "broken", resume=True)
    unbroken, resumed = (_tensors(RunFolder(tmp_path / name).checkpoint) for name in ("unbroken", "broken"))
    assert unbroken.keys() == resumed.keys()
    assert not [name for name, tensor in unbroken.items() if not torch.equal(tensor, resumed[name])]


def test_dropout_is_not_drawn_from_the_seed_of_the_posterior(digits: DataSplits, tmp_path: Path) -> None:
    config = _config(model={"nets": "convolutional", "channels": [4, 8], "dropout": 0.2}, optimiser={"epochs": 1})
    with seeds_of_layers(nn.Dropout) as found:
        _train(config, digits, tmp_path)
    steps = load_checkpoint(RunFolder(tmp_path).checkpoint)["step"]
    assert len(found) == steps
    assert not found & {step_generator(config.seed, step).initial_seed() for step in range(steps)}


def test_samples_of_a_conditional_model_are_a_column_a_class_and_a_row_a_latent(tmp_path: Path) -> None:
    net = VaeTraining.start(_config(model={"conditional": True}), CPU, classes=12).net.requires_grad_(False)
    noise = torch.randn(25, 3, generator=torch.Generator().manual_seed(0))
    draw_samples(net, noise, RunFolder(tmp_path), name="sheet")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"), int)
    assert sheet.shape == (2 * 8, 10 * 8)  # the first ten classes, as many whole rows as there is noise for
    for row, column in [(0, 0), (0, 9), (1, 4)]:
        wanted = net.decode(noise[row : row + 1], torch.tensor([column]))[0, 0].clamp(0, 1) * 255
        found = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert np.abs(found - wanted.numpy()).max() <= 1


def test_training_raises_the_elbo_and_the_journal_shows_it(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(optimiser={"epochs": 25}), digits, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    validation = [record["validation_elbo_nats"] for record in records if "validation_elbo_nats" in record]
    assert len(validation) == 25
    assert validation[-1] > validation[0] + 5
    steps = [record for record in records if "kl_nats" in record]
    assert [record["step"] for record in steps] == [50, 100]
    for record in steps:
        assert record["elbo_nats"] == pytest.approx(record["reconstruction_nats"] - record["kl_nats"], abs=1e-3)


def test_warmup_silences_the_kl_at_first(digits: DataSplits, tmp_path: Path) -> None:
    """With weight 0 the encoder is free to leave the prior: its KL ends far larger than with the full objective."""
    free = _config(model={"objective": {"warmup_epochs": 1e9}}, optimiser={"epochs": 20})
    held = _config(optimiser={"epochs": 20})
    image = observed(digits.test.pictures, None)
    kl = [_kl(_train(config, digits, tmp_path / name), image) for name, config in (("free", free), ("held", held))]
    assert kl[0] > 2 * kl[1]


def test_last_share_of_the_run_draws_many_samples_and_beta_is_reached_after_the_warm_up(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []
    estimate = vae_loop.doubly_reparameterised_signal

    def watched(
        net: VariationalAutoencoder, image: Tensor, noise: Tensor, *, kl_weight: float, label: Tensor | None
    ) -> Signal:
        seen.append((noise.shape[1], round(kl_weight, 6)))
        return estimate(net, image, noise, kl_weight=kl_weight, label=label)

    monkeypatch.setattr(vae_loop, "doubly_reparameterised_signal", watched)
    objective = {
        "kl": "sampled",
        "estimator": "doubly_reparameterised",
        "beta": 2.0,
        "warmup_epochs": 1,
        "importance_samples": 7,
        "importance_weighted_share": 0.4,
    }
    _train(_config(model={"objective": objective}), digits, tmp_path)
    assert [samples for samples, _ in seen] == [1] * 9 + [7] * 6
    assert [weight for _, weight in seen] == [0.0, 0.4, 0.8, 1.2, 1.6] + [2.0] * 10


def test_gradient_is_clipped_to_the_configured_norm(digits: DataSplits, tmp_path: Path) -> None:
    start = VaeTraining.start(_config(), CPU).net
    settings = {"epochs": 1, "batch_size": 160, "average_decay": 0.0, "betas": [0.0, 0.0]}
    free = _train(_config(optimiser={**settings, "clip_norm": 0}), digits, tmp_path / "free")
    tight = _train(_config(optimiser={**settings, "clip_norm": 1e-9}), digits, tmp_path / "tight")
    # Adam divides by |gradient| + 1e-8: a gradient of norm 1e-9 moves no weight by a tenth of the learning rate.
    assert _largest_move(start, free) == pytest.approx(3e-3, rel=0.01)
    assert _largest_move(start, tight) < 3e-4


def test_pictures_of_a_run_are_drawn_every_few_epochs_and_at_the_end(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(model={"latent_size": 2}, optimiser={"epochs": 3}), digits, tmp_path)
    for kind, cells in [("samples", 60), ("reconstructions", 120)]:
        assert sorted(path.name for path in (tmp_path / kind).iterdir()) == ["epoch_0002.png", "epoch_0003.png"]
        with Image.open(tmp_path / kind / "epoch_0003.png") as grid:
            assert grid.width * grid.height >= cells * 8 * 8
    assert {"latent_map.png", "aggregate_posterior.png"} <= {path.name for path in tmp_path.iterdir()}
    with Image.open(tmp_path / "decoded_plane.png") as plane:
        assert plane.size == (20 * 8, 20 * 8)


def test_larger_latents_have_a_map_and_no_plane_to_decode(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(), digits, tmp_path)
    assert (tmp_path / "latent_map.png").exists()
    assert not (tmp_path / "decoded_plane.png").exists()


def test_binarised_pictures_are_coins_with_the_grey_as_odds() -> None:
    grey = np.full((4000, 1, 1, 1), 64, np.uint8)
    coins = observed(grey, torch.Generator().manual_seed(0))
    assert set(coins.unique().tolist()) == {0.0, 1.0}
    assert float(coins.mean()) == pytest.approx(64 / 255, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)


def test_loop_refuses_the_configuration_of_another_family(digits: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="gan"):
        _train(RunConfig.model_validate(TINY_GAN), digits, tmp_path)


def _config(**changes: dict[str, Any]) -> RunConfig:
    """TINY_VAE for three epochs of five steps, with a checkpoint after every step."""
    document = TINY_VAE | {"checkpoint_every_s": 1e-9}
    optimiser = document["optimiser"] | {"batch_size": 32, "epochs": 3} | changes.pop("optimiser", {})
    merged = {section: document[section] | values for section, values in changes.items()}
    return RunConfig.model_validate(document | merged | {"optimiser": optimiser})


def _train(config: RunConfig, data: DataSplits, folder: Path, *, resume: bool = False) -> VariationalAutoencoder:
    run = RunFolder(folder)
    run.create(config)
    return train_vae(config, data, run, device=CPU, resume=resume, progress=False)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by its place."""
    found: dict[str, Tensor] = {}

    def collect(place: str, value: object) -> None:
        if isinstance(value, Tensor):
            found[place] = value
        elif isinstance(value, dict):
            for key, part in value.items():
                collect(f"{place}.{key}", part)

    collect("", load_checkpoint(path))
    return found


def _kl(vae: VariationalAutoencoder, image: Tensor) -> float:
    posterior = vae.posterior(image)
    mean, scale = posterior.mean, posterior.scale
    return float((0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(dim=1).mean())


def _largest_move(before: VariationalAutoencoder, after: VariationalAutoencoder) -> float:
    moves = [(a - b).detach().abs().max() for a, b in zip(after.parameters(), before.parameters(), strict=True)]
    return float(torch.stack(moves).max())
