from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from app.images.pixels import to_floats
from tests.training.killed import Killed, dying_after
from tests.training.layer_seeds import seeds_of_layers
from training.config import DataConfig, RunConfig
from training.data.datasets import DataSplits, ImageSet, load_splits
from training.data.few_labels import labelled
from training.gan.discriminator import Noise
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.penalties import squared_slope
from training.gan_sections import GanObjectiveKind
from training.loops import gan_loop, gan_pictures
from training.loops.checkpoint import Checkpoint, load_checkpoint
from training.loops.gan_loop import train_gan
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.run_folder import RunFolder
from training.loops.schedule import step_generator

CPU = torch.device("cpu")
EPOCHS, BATCH = 3, 32
IMAGES = 5 * BATCH  # five steps an epoch
BATCH_NORMS = {"generator_batch_norm": True, "discriminator_batch_norm": True, "spectral_norm": False}


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    splits = load_splits(DataConfig(set="digits", size=8))
    train = splits.train.take(np.arange(IMAGES))
    return DataSplits("digits", train, splits.validation, splits.test, splits.classes, splits.sha256)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("interrupted_at", [1, 7, 10])  # within an epoch and at the end of one
def test_resumed_run_ends_in_bitwise_the_weights_of_an_unbroken_one(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: int, precision: str
) -> None:
    everything = {
        "condition": "auxiliary",
        "penalty": {"r1": 1.0, "wgan_gp": 1.0, "dragan": 1.0, "every": 3},
        "augment": ["colour", "translation", "cutout"],
        "instance_noise": 0.1,
    }
    objective = {"kind": "relativistic", "discriminator_steps": 2}
    config = _config(model=everything, objective=objective, optimiser={"precision": precision})
    _train(config, digits, tmp_path / "unbroken")
    monkeypatch.setattr(gan_loop, "save_checkpoint", dying_after(interrupted_at))
    with pytest.raises(Killed):
        _train(config, digits, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)  # a new process starts with another state
    _train(config, digits, tmp_path / "broken", resume=True)
    assert _identical(_last_state(tmp_path / "unbroken"), _last_state(tmp_path / "broken"))


@pytest.mark.parametrize("kind", get_args(GanObjectiveKind))
def test_every_objective_moves_both_nets_and_stays_finite(digits: DataSplits, tmp_path: Path, kind: str) -> None:
    _moves_both(_config(objective={"kind": kind}), digits, tmp_path)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "model",
    [
        {"spectral_norm": False},
        {"spectral_norm": False, "penalty": {"r1": 1.0, "r2": 1.0, "every": 2}},
        {"penalty": {"wgan_gp": 10.0}},
        {"penalty": {"dragan": 10.0}},
        {"penalty": {"clip_weights": 0.02}, "spectral_norm": False},
        {"augment": ["colour", "translation", "cutout"], "instance_noise": 0.2},
        {"condition": "concatenation"},
        {"condition": "projection", "penalty": {"r1": 1.0}},
        {"condition": "auxiliary"},
        {"nets": "dense", "hidden": [12, 10], "condition": "auxiliary"},
    ],
    ids=[
        "plain",
        "r1 and r2",
        "wgan_gp",
        "dragan",
        "clipped",
        "views",
        "concatenation",
        "projection",
        "auxiliary",
        "dense",
    ],
)
def test_every_part_of_the_game_moves_both_nets_and_stays_finite(
    digits: DataSplits, tmp_path: Path, precision: str, model: dict[str, object]
) -> None:
    _moves_both(_config(model=model, optimiser={"precision": precision}), digits, tmp_path)


def test_penalty_keeps_the_discriminator_flat(digits: DataSplits, tmp_path: Path) -> None:
    real = torch.from_numpy(to_floats(digits.test.pictures[:64], PIXELS))
    slopes = []
    for weight in (0.0, 100.0):
        model = {"spectral_norm": False, "penalty": {"r1": weight, "every": 3}}
        config = _config(model=model, optimiser={"learning_rate": 2e-3, "epochs": 8})
        discriminator = _train(config, digits, tmp_path / str(weight)).discriminator
        slopes.append(squared_slope(discriminator, real).mean().item())
    assert slopes[1] < slopes[0] / 10


def test_clipped_weights_are_within_their_bound_after_training(digits: DataSplits, tmp_path: Path) -> None:
    model = {"spectral_norm": False, "penalty": {"clip_weights": 0.013}}
    config = _config(model=model, objective={"kind": "wasserstein"}, optimiser={"learning_rate": 5e-3})
    assert _weights(_train(config, digits, tmp_path).discriminator).abs().max().item() == pytest.approx(0.013)


def test_auxiliary_classifier_learns_the_classes_and_the_generator_draws_them(
    digits: DataSplits, tmp_path: Path
) -> None:
    config = _config(
        model={
            "condition": "auxiliary",
            "spectral_norm": False,
            "generator_channels": 16,
            "discriminator_channels": 16,
        },
        objective={"kind": "non_saturating"},
        optimiser={"epochs": 25, "learning_rate": 3e-3, "betas": (0.5, 0.9)},
    )
    model = _train(config, digits, tmp_path)
    real = torch.from_numpy(to_floats(digits.test.pictures, PIXELS))
    label = torch.arange(100) % 10
    with torch.no_grad():
        found = model.discriminator.verdict(real).class_logits
        drawn = model.discriminator.verdict(model.generator(torch.randn(100, 6), label)).class_logits
    assert found is not None
    assert drawn is not None
    assert np.mean(found.argmax(dim=1).numpy() == digits.test.labels) > 0.7  # guessing has 0.1
    assert (drawn.argmax(dim=1) == label).float().mean() > 0.5


def test_discovering_classes_uses_no_label(digits: DataSplits, tmp_path: Path) -> None:
    train = ImageSet(digits.train.pictures, np.zeros(len(digits.train), np.int64))
    config = _config(model={"condition": "discovered", "discovered_classes": 4, "codes": 2})
    states = [
        _train(config, data, tmp_path / name).state_dict()
        for name, data in (("told", digits), ("untold", replace(digits, train=train)))
    ]
    assert _identical(*states)


def test_discriminator_finds_the_drawn_classes_and_codes_again(digits: DataSplits, tmp_path: Path) -> None:
    model = {"condition": "discovered", "discovered_classes": 4, "codes": 1, "code_weight": 1.0, "spectral_norm": False}
    wide = {"generator_channels": 16, "discriminator_channels": 16}
    steps = {"epochs": 25, "learning_rate": 3e-3, "betas": (0.5, 0.9)}
    gan = _train(_config(model=model | wide, objective={"kind": "non_saturating"}, optimiser=steps), digits, tmp_path)
    latent, label = torch.randn(200, 6), torch.arange(200) % 4
    with torch.no_grad():
        verdict = gan.discriminator.verdict(gan.generator(latent, label))
    assert verdict.class_logits is not None
    assert verdict.codes is not None
    assert (verdict.class_logits.argmax(dim=1) == label).float().mean() > 0.8  # guessing has 0.25
    assert torch.corrcoef(torch.stack([verdict.codes[:, 0], latent[:, 0]]))[0, 1] > 0.5


SEMI_SUPERVISED = {
    "nets": "dense",
    "hidden": [64, 32],
    "spectral_norm": False,
    "condition": "semi_supervised",
    "discriminator_noise": 0.3,
    "labelled_batch": 20,
}


def test_classifier_learns_from_few_labels_and_unlabelled_pictures(digits: DataSplits, tmp_path: Path) -> None:
    few = load_splits(DataConfig(set="digits", size=8, labelled_images=50))
    config = _config(
        data={"labelled_images": 50},
        model=SEMI_SUPERVISED,
        objective={"kind": "non_saturating", "feature_matching": True},
        optimiser={"epochs": 12, "learning_rate": 2e-3, "betas": (0.5, 0.9)},
    )
    model = _train(config, few, tmp_path)
    real = torch.from_numpy(to_floats(digits.test.pictures, PIXELS))
    with torch.no_grad():
        class_logits = model.discriminator.verdict(real).class_logits
    assert class_logits is not None
    assert np.mean(class_logits.argmax(dim=1).numpy() == digits.test.labels) > 0.75


def test_resumed_run_with_few_labels_is_bitwise_the_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = load_splits(DataConfig(set="digits", size=8, labelled_images=50))
    few = replace(few, train=labelled(few.train))
    taught = SEMI_SUPERVISED | {"teaching": {"agreement_confidence": 0.2, "even_classes": True}}
    config = _config(data={"labelled_images": 50}, model=taught, objective={"feature_matching": True})
    _train(config, few, tmp_path / "unbroken")
    monkeypatch.setattr(gan_loop, "save_checkpoint", dying_after(2))
    with pytest.raises(Killed):
        _train(config, few, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)
    _train(config, few, tmp_path / "broken", resume=True)
    assert _identical(_last_state(tmp_path / "unbroken"), _last_state(tmp_path / "broken"))


def test_noise_between_layers_is_not_drawn_from_the_seed_of_the_latents(tmp_path: Path) -> None:
    few = load_splits(DataConfig(set="digits", size=8, labelled_images=50))
    few = replace(few, train=labelled(few.train))
    config = _config(data={"labelled_images": 50}, model=SEMI_SUPERVISED, optimiser={"epochs": 1})
    with seeds_of_layers(Noise) as found:
        _train(config, few, tmp_path)
    steps = _last_state(tmp_path)["step"]
    assert len(found) == steps
    assert not found & {step_generator(config.seed, step).initial_seed() for step in range(steps)}


def test_average_carries_the_running_statistics(digits: DataSplits, tmp_path: Path) -> None:
    config = _config(model={"generator_batch_norm": True}, optimiser={"average_decay": 0.999})
    averaged = _train(config, digits, tmp_path).generator
    raw = GanTraining.start(config, CPU)
    raw.restore(load_checkpoint(RunFolder(tmp_path).checkpoint))
    kept, current = _running_means(averaged), _running_means(raw.net.generator)
    assert kept.abs().max() > 0  # not what a batch norm starts from
    assert not torch.allclose(kept, current)


def test_average_without_decay_is_the_generator_itself(digits: DataSplits, tmp_path: Path) -> None:
    config = _config(model={"generator_batch_norm": True}, optimiser={"average_decay": 0.0})
    averaged = _train(config, digits, tmp_path).generator
    raw = GanTraining.start(config, CPU)
    raw.restore(load_checkpoint(RunFolder(tmp_path).checkpoint))
    assert _identical(averaged.state_dict(), raw.net.generator.state_dict())


@pytest.mark.parametrize(("discriminator_steps", "updates"), [(1, 15), (2, 7), (4, 3)])
def test_generator_moves_once_for_the_set_number_of_discriminator_steps(
    digits: DataSplits, tmp_path: Path, discriminator_steps: int, updates: int
) -> None:
    _train(_config(objective={"discriminator_steps": discriminator_steps}), digits, tmp_path)
    state = load_checkpoint(RunFolder(tmp_path).checkpoint)
    assert _adam_steps(state["discriminator_optimiser"]) == {EPOCHS * IMAGES // BATCH}
    assert _adam_steps(state["generator_optimiser"]) == {updates}


def test_discriminator_learns_at_its_own_rate(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(optimiser={"discriminator_learning_rate": 5e-4}), digits, tmp_path)
    state = load_checkpoint(RunFolder(tmp_path).checkpoint)
    rates = [state[f"{player}_optimiser"]["param_groups"][0]["lr"] for player in ("generator", "discriminator")]
    assert rates == [2e-4, 5e-4]


def test_journal_tells_both_players_numbers(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_loop, "RECORD_EVERY_GENERATOR_STEPS", 3)
    model = {"penalty": {"r1": 1.0, "every": 4}}
    _train(_config(model=model, objective={"discriminator_steps": 2}), digits, tmp_path)
    lines = (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "images_per_s" in record]
    assert [record["step"] for record in records] == [6, 12]
    for record in records:
        assert set(record) >= {"discriminator_loss", "generator_loss"}
        assert 0 <= record["discriminator_real_accuracy"] <= 1
        assert 0 <= record["discriminator_fake_accuracy"] <= 1
        assert 0 <= record["discriminator_pair_accuracy"] <= 1
        assert ("discriminator_penalty" in record) == (record["step"] == 12)
        assert min(record[f"{player}_gradient_norm"] for player in ("generator", "discriminator")) > 0
        assert record["images_per_s"] > 0


def test_samples_are_drawn_every_few_epochs_and_at_the_end(digits: DataSplits, tmp_path: Path) -> None:
    _train(_config(), digits, tmp_path)
    grids = sorted((tmp_path / "samples").iterdir())
    assert [grid.name for grid in grids] == ["epoch_0002.png", "epoch_0003.png"]
    with Image.open(grids[0]) as grid:
        assert grid.width * grid.height >= gan_pictures.SAMPLES * 8 * 8


def test_trained_model_answers_each_image_alone(digits: DataSplits, tmp_path: Path) -> None:
    model = _train(_config(model=BATCH_NORMS), digits, tmp_path)
    latents = torch.randn(5, 6)
    images = model.generator(latents)
    torch.testing.assert_close(model.generator(latents[:1]), images[:1])
    torch.testing.assert_close(model.discriminator(images[:1]), model.discriminator(images)[:1])


def test_discriminator_tells_noise_from_digits_when_the_generator_hardly_moves(
    digits: DataSplits, tmp_path: Path
) -> None:
    config = _config(
        objective={"kind": "non_saturating"},
        optimiser={"epochs": 8, "learning_rate": 1e-12, "discriminator_learning_rate": 2e-3},
    )
    model = _train(config, digits, tmp_path)
    real = torch.from_numpy(to_floats(digits.test.pictures[:64], PIXELS))
    fake = model.generator(torch.randn(64, 6))
    assert (model.discriminator(real) > 0).float().mean() > 0.95
    assert (model.discriminator(fake) < 0).float().mean() > 0.95


def test_loop_refuses_the_configuration_of_another_family(digits: DataSplits, tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {"name": "x", "title": "x", "data": {"set": "digits", "size": 8}, "model": {"family": "vae"}}
    )
    with pytest.raises(TypeError, match="vae"):
        _train(config, digits, tmp_path)


def _moves_both(config: RunConfig, digits: DataSplits, folder: Path) -> None:
    start = GanTraining.start(config, CPU, classes=10).net
    end = _train(config, digits, folder)
    for before, after in [(start.generator, end.generator), (start.discriminator, end.discriminator)]:
        assert _weights(after).isfinite().all()
        assert (_weights(after) - _weights(before)).abs().max() > 1e-4


def _config(
    *,
    data: Mapping[str, object] = MappingProxyType({}),
    model: Mapping[str, object] = MappingProxyType({}),
    objective: Mapping[str, object] = MappingProxyType({}),
    optimiser: Mapping[str, object] = MappingProxyType({}),
) -> RunConfig:
    """A tiny GAN, hinge with spectral norm and no batch norm, less what the test changes."""
    sizes = {"family": "gan", "latent_size": 6, "generator_channels": 4, "discriminator_channels": 4}
    norms = {"spectral_norm": True, "generator_batch_norm": False, "discriminator_batch_norm": False}
    steps = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 2e-4, "betas": (0.0, 0.9), "average_decay": 0.9}
    return RunConfig.model_validate(
        {
            "name": "tiny_gan",
            "title": "A tiny GAN",
            "seed": 3,
            "data": {"set": "digits", "size": 8, **data},
            "model": {**sizes, **norms, **model, "objective": {"kind": "hinge", **objective}},
            "optimiser": {**steps, "schedule": "constant", **optimiser},
            "samples_every_epochs": 2,
            "checkpoint_every_s": 1e-9,  # a checkpoint after every step
        }
    )


def _train(config: RunConfig, data: DataSplits, folder: Path, *, resume: bool = False) -> GenerativeAdversarialNetwork:
    run = RunFolder(folder)
    run.create(config)
    return train_gan(config, data, run, device=CPU, resume=resume, progress=False)


def _last_state(folder: Path) -> Checkpoint:
    """The last checkpoint, less the seconds that the run took."""
    state = load_checkpoint(RunFolder(folder).checkpoint)
    del state["train_seconds"]
    return state


def _identical(left: object, right: object) -> bool:
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and _identical([*left.items()], [*right.items()])
    if isinstance(left, list | tuple):
        return isinstance(right, list | tuple) and len(left) == len(right) and all(map(_identical, left, right))
    return bool(left == right)


def _weights(net: nn.Module) -> Tensor:
    return torch.cat([parameter.reshape(-1) for parameter in net.parameters()])


def _running_means(net: nn.Module) -> Tensor:
    return torch.cat([layer.running_mean for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)])


def _adam_steps(state: Checkpoint) -> set[int]:
    return {int(parameter["step"]) for parameter in state["state"].values()}
