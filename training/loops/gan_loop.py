"""Training a GAN: an explicit loop of named steps, every one a function of (seed, step) and the state before it.

One step is one batch of real images and one update of the discriminator; after every `discriminator_steps` of them the
generator is updated once (algorithm 1 of Goodfellow et al. 2014).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from app.images.pixels import to_bytes, to_floats
from app.latent.noise import standard_normal
from app.manifest import PixelRange
from training.config import GanConfig, RunConfig
from training.data.datasets import DataSplits
from training.gan.generator import Generator
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.objective import Game, game
from training.loops.averaging import WeightAverage
from training.loops.checkpoint import Checkpoint, CheckpointClock, load_checkpoint, save_checkpoint
from training.loops.journal import Journal
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan, learning_rate_factor, precision, set_learning_rate, step_generator

PIXELS = PixelRange(low=-1.0, high=1.0)
SAMPLES = 64
RECORD_EVERY_GENERATOR_STEPS = 50


@dataclass
class GanTraining:
    """The state of a run: both nets, the generator's average, an optimiser each, and how many steps are behind them."""

    config: RunConfig
    settings: GanConfig
    device: torch.device
    net: GenerativeAdversarialNetwork
    average: WeightAverage[Generator]
    generator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam
    step: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, config: RunConfig, device: torch.device) -> GanTraining:
        """A fresh run: weights drawn from the run's seed."""
        settings, optimiser = config.model, config.optimiser
        if not isinstance(settings, GanConfig):
            raise TypeError(f"this loop trains GANs, the configuration describes a {settings.family}")
        torch.manual_seed(config.seed)
        net = GenerativeAdversarialNetwork.from_config(settings, config.data)
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            config,
            settings,
            device,
            net,
            WeightAverage(net.generator, optimiser.average_decay),
            torch.optim.Adam(net.generator.parameters(), lr=optimiser.learning_rate, betas=optimiser.betas),
            torch.optim.Adam(net.discriminator.parameters(), lr=optimiser.learning_rate, betas=optimiser.betas),
        )

    @property
    def generator_steps(self) -> int:
        """Updates of the generator so far."""
        return self.step // self.settings.objective.discriminator_steps

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "train_seconds": self.train_seconds,
            "net": self.net.state_dict(),
            "average": self.average.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
        }

    def restore(self, state: Checkpoint) -> None:
        """Go on where `checkpoint` left off."""
        self.step = state["step"]
        self.train_seconds = state["train_seconds"]
        self.net.load_state_dict(state["net"])
        self.average.average.load_state_dict(state["average"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])

    def averaged(self) -> GenerativeAdversarialNetwork:
        """What is published: the averaged generator and the discriminator, both as they answer outside training."""
        return GenerativeAdversarialNetwork(self.average.average, self.net.discriminator).eval()


@dataclass(frozen=True)
class DiscriminatorStep:
    """What one update of the discriminator saw before it: scalars, left on the device."""

    loss: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True)
class GeneratorStep:
    """What one update of the generator saw before it: scalars, left on the device."""

    loss: Tensor
    gradient_norm: Tensor


def train_gan(
    config: RunConfig, data: DataSplits, run: RunFolder, *, device: torch.device, resume: bool, progress: bool
) -> GenerativeAdversarialNetwork:
    """Train to the last epoch and return the averaged generator with its discriminator.

    Pictures, journal and checkpoint go to the run folder. The validation images are not looked at.
    """
    training = GanTraining.start(config, device)
    if resume:
        training.restore(load_checkpoint(run.checkpoint))
    plan = Plan.of(config, len(data.train))
    played = game(training.settings.objective.kind)
    clock, speed = CheckpointClock(config.checkpoint_every_s), _Speedometer()
    with Journal(run.path, plan, done_steps=training.step, progress=progress) as journal:
        for chosen in plan.batches(done_steps=training.step):
            numbers = _step(training, plan, played, data.train.pictures[chosen])
            speed.passed(len(chosen))
            journal.advance()
            if _is_recorded(training):
                journal.record(training.step, {**_as_floats(numbers), "images_per_s": speed.read()})
            if training.step % plan.steps_per_epoch == 0:
                _end_of_epoch(training, plan, run)
            training.train_seconds += clock.lap()
            if clock.due() or training.step == plan.total_steps:
                save_checkpoint(run.checkpoint, training.checkpoint())
    return training.averaged()


def _step(training: GanTraining, plan: Plan, played: Game, pictures: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Update the discriminator on one batch and, when it is due, the generator; returns the numbers of both."""
    draw = step_generator(training.config.seed, training.step)
    _set_learning_rates(training, plan)
    real = torch.from_numpy(to_floats(pictures, PIXELS)).to(training.device)
    discriminator = _update_discriminator(training, played, real, _latent(training, len(real), draw))
    training.step += 1
    numbers = _named("discriminator", discriminator)
    if training.step % training.settings.objective.discriminator_steps == 0:
        generator = _update_generator(training, played, _latent(training, len(real), draw))
        training.average.update(training.net.generator, training.generator_steps - 1)
        numbers |= _named("generator", generator)
    return numbers


def _set_learning_rates(training: GanTraining, plan: Plan) -> None:
    optimiser = training.config.optimiser
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.generator_optimiser, optimiser.learning_rate * factor)
    discriminators = optimiser.discriminator_learning_rate or optimiser.learning_rate
    set_learning_rate(training.discriminator_optimiser, discriminators * factor)


def _latent(training: GanTraining, batch: int, draw: torch.Generator) -> Float[Tensor, "batch latent"]:
    return torch.randn(batch, training.settings.latent_size, generator=draw).to(training.device)


def _update_discriminator(
    training: GanTraining,
    played: Game,
    real: Float[Tensor, "batch c h w"],
    latent: Float[Tensor, "batch latent"],
) -> DiscriminatorStep:
    """One step of Adam on the mean loss of as many real as generated images."""
    with torch.no_grad(), precision(training.config.optimiser, training.device):
        fake = training.net.generator(latent)
    # Two batches, not one of both: with batch norm each kind is normalised by its own statistics.
    with precision(training.config.optimiser, training.device):
        real_logits, fake_logits = training.net.discriminator(real), training.net.discriminator(fake)
    loss = played.discriminator_loss(real_logits.float(), fake_logits.float()).mean()
    norm = _descend(training, training.discriminator_optimiser, training.net.discriminator, loss)
    return DiscriminatorStep(loss.detach(), _share(real_logits > 0), _share(fake_logits < 0), norm)


def _update_generator(training: GanTraining, played: Game, latent: Float[Tensor, "batch latent"]) -> GeneratorStep:
    """One step of Adam on the mean loss of freshly generated images."""
    with precision(training.config.optimiser, training.device):
        fake_logits = training.net.discriminator(training.net.generator(latent))
    loss = played.generator_loss(fake_logits.float()).mean()
    norm = _descend(training, training.generator_optimiser, training.net.generator, loss)
    return GeneratorStep(loss.detach(), norm)


def _descend(training: GanTraining, optimiser: torch.optim.Adam, player: nn.Module, loss: Tensor) -> Tensor:
    """Move one player alone down its loss; returns the norm of its whole gradient before clipping."""
    parameters = list(player.parameters())
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=parameters)  # the other player's gradients would be computed for nothing
    norm = nn.utils.clip_grad_norm_(parameters, training.config.optimiser.clip_norm or inf)
    optimiser.step()
    return norm


def _share(condition: Tensor) -> Tensor:
    return condition.float().mean()


def _named(player: str, numbers: DiscriminatorStep | GeneratorStep) -> dict[str, Tensor]:
    return {f"{player}_{name}": value for name, value in vars(numbers).items()}


def _as_floats(numbers: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}


def _is_recorded(training: GanTraining) -> bool:
    """Now and then, and only where both players have just moved."""
    return training.step % (RECORD_EVERY_GENERATOR_STEPS * training.settings.objective.discriminator_steps) == 0


def _end_of_epoch(training: GanTraining, plan: Plan, run: RunFolder) -> None:
    """Draw what the averaged generator makes of the same noise, every few epochs and at the end."""
    epoch = training.step // plan.steps_per_epoch
    if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
        run.save_grid(f"samples/epoch_{epoch:04d}", _samples(training))


@torch.no_grad()
def _samples(training: GanTraining) -> NDArray[np.uint8]:
    """The samples (N, H, W, C) that the service will give for the run's seed, as the generator stands now."""
    noise = standard_normal(training.config.seed, range(SAMPLES), training.settings.latent_size)
    image = training.average.average(torch.from_numpy(noise).to(training.device))
    return to_bytes(image.cpu().numpy(), PIXELS)


class _Speedometer:
    """Images a second since it was last read."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._images = 0

    def passed(self, images: int) -> None:
        self._images += images

    def read(self) -> float:
        now = time.monotonic()
        rate = self._images / (now - self._since)
        self._since, self._images = now, 0
        return rate
