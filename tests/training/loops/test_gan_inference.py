"""GANs with an encoder of their own, against what theory says of their solutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from app.images.pixels import to_bytes, to_floats
from tests.training.killed import Killed, dying_after
from training.config import DataConfig, RunConfig
from training.data.datasets import DataSplits, ImageSet, load_splits
from training.gan.generator import Generator
from training.gan.joint_encoder import JointEncoder
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.objective import game
from training.gan.pair_discriminator import PairDiscriminator
from training.gan_sections import SYMMETRIC_KINDS, GanConfig, GanObjectiveKind
from training.loops import gan_loop
from training.loops.averaging import WeightAverage
from training.loops.checkpoint import load_checkpoint
from training.loops.gan_loop import train_gan
from training.loops.gan_shown import StepDraws, real_batch, shown
from training.loops.gan_steps import take_step
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan, step_generator

CPU = torch.device("cpu")
LATENT = 4
BIGAN = {"kind": "bidirectional"}
AAE = {"kind": "adversarial_autoencoder", "reconstruction_weight": 1.0}
DENSE = {"nets": "dense", "hidden": [32, 24]}
KINDS = pytest.mark.parametrize(
    ("inference", "nets"),
    [(BIGAN, {}), (BIGAN | {"posterior": "diagonal"}, DENSE), (AAE, DENSE), (AAE | {"posterior": "diagonal"}, {})],
    ids=["BiGAN", "BiGAN dense, Gaussian", "AAE dense", "AAE Gaussian"],
)


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_splits(DataConfig(set="digits", size=8))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@KINDS
def test_each_side_of_the_game_depends_on_the_net_that_made_it(
    digits: DataSplits, inference: dict[str, Any], nets: dict[str, Any]
) -> None:
    training = GanTraining.start(_config(inference, nets), CPU)
    draws = StepDraws(training.settings, 0.0, step_generator(0, 0))
    seen = shown(training, draws, real_batch(training, digits.train.take(np.arange(8))))
    players = {"generator": training.net.generator, "encoder": training.net.encoder}
    reached = {(side, name) for side in ("real", "fake") for name, net in players.items() if _moves(seen, side, net)}
    both = {("real", "encoder"), ("fake", "generator")}
    assert reached == (both if inference["kind"] == "bidirectional" else {("fake", "encoder")})


@KINDS
def test_every_net_moves_and_the_averages_are_published(
    digits: DataSplits, tmp_path: Path, inference: dict[str, Any], nets: dict[str, Any]
) -> None:
    config = _config(inference, nets, epochs=1)
    start = GanTraining.start(config, CPU).net
    model = _train(config, digits, tmp_path)
    assert start.encoder is not None
    assert model.encoder is not None
    for before, after in zip(start.children(), model.children(), strict=True):
        assert _weights(after).isfinite().all()
        assert not torch.equal(_weights(before), _weights(after))
    raw = GanTraining.start(config, CPU)
    raw.restore(load_checkpoint(RunFolder(tmp_path).checkpoint))
    assert raw.net.encoder is not None
    assert not torch.equal(_weights(raw.net.encoder), _weights(model.encoder))
    assert (tmp_path / "reconstructions" / "epoch_0001.png").exists()


@pytest.mark.parametrize(
    ("inference", "updates"),
    [(BIGAN, 2), (BIGAN | {"reconstruction_weight": 0.5}, 3), (AAE, 1)],
    ids=["BiGAN", "BiGAN that reconstructs", "AAE"],
)
def test_running_statistics_are_of_all_that_the_generator_learns_from_and_of_nothing_else(
    digits: DataSplits, inference: dict[str, Any], updates: int
) -> None:
    """A BiGAN draws once for each player; codes count where their reconstruction is paid for."""
    training = GanTraining.start(_config(inference, {"generator_batch_norm": True}), CPU)
    numbers = _one_step(training, digits)
    norms = [layer for layer in training.net.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert {int(layer.num_batches_tracked) for layer in norms if layer.num_batches_tracked is not None} == {updates}
    assert all(layer.training for layer in norms)
    assert numbers["generator_reconstruction_error"].isfinite()


def test_error_that_weighs_nothing_is_that_of_the_generator_as_it_answers_outside_training(digits: DataSplits) -> None:
    """With next to no learning rate the nets after the step are those before it, save running statistics."""
    training = GanTraining.start(_config(BIGAN, {"generator_batch_norm": True}, learning_rate=1e-30), CPU)
    error = _one_step(training, digits)["generator_reconstruction_error"]
    assert training.net.encoder is not None
    image = torch.from_numpy(to_floats(digits.train.pictures[:16], PIXELS))
    with torch.no_grad():
        again = training.net.generator.eval()(training.net.encoder.central(image))
    torch.testing.assert_close(error, (again - image).square().sum(dim=(1, 2, 3)).mean() / 4)


@pytest.mark.parametrize(
    "inference",
    [BIGAN, BIGAN | {"reconstruction_weight": 0.5}, AAE | {"posterior": "diagonal"}],
    ids=["BiGAN", "BiGAN that reconstructs", "AAE"],
)
def test_resumed_run_ends_in_bitwise_the_weights_of_an_unbroken_one(
    digits: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inference: dict[str, Any]
) -> None:
    nets = {"generator_batch_norm": True, "penalty": {"r1": 1.0, "r2": 1.0, "every": 2}}
    config = _config(inference, nets, epochs=1)
    _train(config, digits, tmp_path / "unbroken")
    monkeypatch.setattr(gan_loop, "save_checkpoint", dying_after(5))
    with pytest.raises(Killed):
        _train(config, digits, tmp_path / "broken")
    monkeypatch.undo()
    torch.manual_seed(12345)
    _train(config, digits, tmp_path / "broken", resume=True)
    unbroken, broken = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("unbroken", "broken"))
    for part in ("net", "average", "encoder_average"):
        assert all(torch.equal(unbroken[part][name], broken[part][name]) for name in unbroken[part])


def test_codes_of_an_adversarial_autoencoder_come_to_be_those_of_the_prior(digits: DataSplits, tmp_path: Path) -> None:
    untrained = GanTraining.start(_config(AAE, DENSE), CPU).net
    model = _train(_config(AAE, DENSE, epochs=40, learning_rate=2e-3), digits, tmp_path)
    image = torch.from_numpy(to_floats(digits.test.pictures, PIXELS))
    before, after = (_moments(net, image) for net in (untrained, model))
    assert before > 0.8
    assert after < 0.4
    assert model.encoder is not None
    with torch.no_grad():
        again = model.generator(model.encoder.central(image))
    unexplained = (again - image).square().mean() / (image - image.mean(dim=0)).square().mean()
    assert unexplained < 0.6


def test_encoder_of_a_linear_bigan_inverts_its_generator() -> None:
    """Donahue et al. 2017, theorem 2: at the optimum E is the inverse of G; G here may be any rotation."""
    training = _linear_training()
    plan = Plan(len(_PLANE), 256, 30, seed=0)
    latent = torch.randn(500, 2)
    errors = []
    for step, chosen in enumerate(plan.batches(done_steps=0)):
        if step in (0, plan.total_steps - 1):
            errors.append(_inversion_error(training.averaged(), latent))
            training.net.train()
        take_step(training, plan, game("non_saturating"), ImageSet(_PLANE[chosen], None))
    assert errors[0] > 0.5
    assert errors[1] < 0.05


@pytest.mark.parametrize("kind", get_args(GanObjectiveKind))
def test_symmetric_games_are_those_that_do_not_tell_their_sides_apart(kind: GanObjectiveKind) -> None:
    real, fake = torch.linspace(-2, 2, 9), torch.linspace(1.5, -1.7, 9)
    loss = game(kind).discriminator_loss
    same = torch.allclose(loss(real, fake), loss(-fake, -real))
    assert same == (kind in SYMMETRIC_KINDS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inference": BIGAN, "condition": "projection"}, "condition"),
        ({"inference": BIGAN, "objective": {"kind": "kl"}}, "symmetric"),
        ({"inference": BIGAN, "discriminator_batch_norm": True}, "no batch norm"),
        ({"inference": {"kind": "adversarial_autoencoder"}}, "reconstruction_weight"),
        ({"inference": AAE, "augment": ["cutout"]}, "latents"),
        ({"inference": {"posterior": "diagonal"}}, "inference.kind"),
    ],
)
def test_configuration_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GanConfig.model_validate({"family": "gan", "discriminator_batch_norm": False, **changes})


def test_deterministic_encoder_has_no_posterior() -> None:
    encoder = GanTraining.start(_config(BIGAN, DENSE), CPU).net.encoder
    assert encoder is not None
    with pytest.raises(TypeError, match="deterministic"):
        encoder.posterior(torch.zeros(1, 1, 8, 8))


class _Linear(Generator):
    """G(z) = W z / 4, four pixels."""

    def __init__(self) -> None:
        super().__init__(2)
        self.layers = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Unflatten(1, (1, 2, 2)))

    def chain(self) -> tuple[nn.Module, ...]:
        return (self.layers,)


_PLANE = to_bytes(
    (np.random.default_rng(0).normal(size=(4096, 2)) @ np.array([[1, 1, 0, 0], [0, 0, 1, -1]]) / 6)
    .reshape(-1, 1, 2, 2)
    .astype(np.float32),
    PIXELS,
)
"""Pictures of four pixels on a plane: a linear generator draws them all, and a linear encoder reads them."""


def _linear_training() -> GanTraining:
    config = _config(BIGAN, {"latent_size": 2, "penalty": {"r1": 0.1, "r2": 0.1}}, learning_rate=5e-3, decay=0.98)
    assert isinstance(config.model, GanConfig)
    torch.manual_seed(0)
    encoder = JointEncoder(nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), None)
    judge = PairDiscriminator((1, 2, 2), 2, nn.Flatten(), 4, (32, 32))
    net = GenerativeAdversarialNetwork(_Linear(), judge, encoder)
    generating, judging = (
        torch.optim.Adam(player.parameters(), lr=1.0, betas=(0.0, 0.9)) for player in (net.drawing, judge)
    )
    averages = WeightAverage(net.generator, 0.98), WeightAverage(encoder, 0.98)
    return GanTraining(config, config.model, CPU, net, averages[0], generating, judging, encoder_average=averages[1])


def _inversion_error(model: GenerativeAdversarialNetwork, latent: Tensor) -> float:
    """Mean squared, of latents of unit variance."""
    assert model.encoder is not None
    with torch.no_grad():
        return float((model.encoder.central(model.generator(latent)) - latent).square().mean())


def _moments(model: GenerativeAdversarialNetwork, image: Tensor) -> float:
    """How far mean and covariance of the codes are from 0 and the identity, root mean square over their entries."""
    assert model.encoder is not None
    with torch.no_grad():
        code = model.encoder.central(image)
    off = torch.cat([code.mean(dim=0)[None], torch.cov(code.T) - torch.eye(LATENT)])
    return float(off.square().sum(dim=0).mean().sqrt())


def _moves(seen: Any, side: str, net: nn.Module | None) -> bool:
    assert net is not None
    made: Tensor = getattr(seen, side)
    if not made.requires_grad:
        return False
    found = torch.autograd.grad(made.sum(), list(net.parameters()), allow_unused=True, retain_graph=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in found)


def _config(
    inference: dict[str, Any],
    nets: dict[str, Any],
    *,
    epochs: int = 1,
    learning_rate: float = 1e-3,
    decay: float = 0.95,
) -> RunConfig:
    sizes = {"family": "gan", "latent_size": LATENT, "generator_channels": 4, "discriminator_channels": 4}
    norms = {"generator_batch_norm": False, "discriminator_batch_norm": False}
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "seed": 3,
            "data": {"set": "digits", "size": 8},
            "model": sizes | norms | nets | {"inference": {"code_hidden": [32], **inference}},
            "optimiser": {
                "epochs": epochs,
                "batch_size": 128,
                "learning_rate": learning_rate,
                "betas": (0.5, 0.9),
                "average_decay": decay,
                "schedule": "constant",
            },
            "checkpoint_every_s": 1e-9,
        }
    )


def _train(config: RunConfig, data: DataSplits, folder: Path, *, resume: bool = False) -> GenerativeAdversarialNetwork:
    run = RunFolder(folder)
    run.create(config)
    return train_gan(config, data, run, device=CPU, resume=resume, progress=False)


def _one_step(training: GanTraining, digits: DataSplits) -> dict[str, Tensor]:
    return take_step(training, Plan(16, 16, 1, seed=0), game("non_saturating"), digits.train.take(np.arange(16)))


def _weights(net: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in net.parameters()])
