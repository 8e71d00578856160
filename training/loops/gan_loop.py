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
from training.config import RunConfig
from training.data.datasets import DataSplits
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.objective import Game, game
from training.gan.penalties import clip_weights, dragan_penalty, r1_penalty, r2_penalty, wgan_gp_penalty
from training.gan.views import add_instance_noise, augment, instance_noise_scale
from training.gan_sections import GanConfig
from training.loops.checkpoint import CheckpointClock, load_checkpoint, save_checkpoint
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.journal import Journal
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan, learning_rate_factor, precision, set_learning_rate, step_generator

SAMPLES = 64
RECORD_EVERY_GENERATOR_STEPS = 50


@dataclass(frozen=True)
class DiscriminatorStep:
    """What one update of the discriminator saw before it: scalars, left on the device."""

    loss: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    pair_accuracy: Tensor
    """How often the real image of a pair has the higher logit: says something also where 0 is no boundary."""
    gradient_norm: Tensor
    penalty: Tensor | None
    """In the steps that it is due at."""


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
    _set_learning_rates(training, plan)
    real = torch.from_numpy(to_floats(pictures, PIXELS)).to(training.device)
    generator = step_generator(training.config.seed, training.step)
    draws = _StepDraws(training.settings, training.step / plan.total_steps, generator)
    discriminator = _update_discriminator(training, played, draws, real)
    training.step += 1
    numbers = _named("discriminator", discriminator)
    if training.step % training.settings.objective.discriminator_steps == 0:
        updated = _update_generator(training, played, draws, real)
        training.average.update(training.net.generator, training.generator_steps - 1)
        numbers |= _named("generator", updated)
    return numbers


def _set_learning_rates(training: GanTraining, plan: Plan) -> None:
    optimiser = training.config.optimiser
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.generator_optimiser, optimiser.learning_rate * factor)
    discriminators = optimiser.discriminator_learning_rate or optimiser.learning_rate
    set_learning_rate(training.discriminator_optimiser, discriminators * factor)


@dataclass(frozen=True)
class _StepDraws:
    """What one step draws, all from one generator: latents, and how the discriminator sees images."""

    settings: GanConfig
    progress: float
    generator: torch.Generator

    def latent(self, batch: int, device: torch.device) -> Float[Tensor, "batch latent"]:
        """Fresh latents."""
        return torch.randn(batch, self.settings.latent_size, generator=self.generator).to(device)

    def views(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Images as they are shown: augmented and noisy where the configuration says so."""
        image = augment(image, self.settings.augment, self.generator)
        scale = instance_noise_scale(self.settings.instance_noise, self.progress, self.settings.instance_noise_share)
        return add_instance_noise(image, scale, self.generator) if scale > 0 else image


def _update_discriminator(
    training: GanTraining, played: Game, draws: _StepDraws, real: Float[Tensor, "batch c h w"]
) -> DiscriminatorStep:
    """One step of Adam on the mean loss of as many real as generated images, and on the penalty when it is due."""
    with torch.no_grad(), precision(training.config.optimiser, training.device):
        fake = training.net.generator(draws.latent(len(real), training.device))
    real, fake = draws.views(real), draws.views(fake.float())
    # Two batches, not one of both: with batch norm each kind is normalised by its own statistics.
    with precision(training.config.optimiser, training.device):
        real_logits, fake_logits = training.net.discriminator(real), training.net.discriminator(fake)
    loss = played.discriminator_loss(real_logits.float(), fake_logits.float()).mean()
    penalty = _penalty(training, draws, real, fake)
    paid = loss if penalty is None else loss + penalty
    norm = _descend(training, training.discriminator_optimiser, training.net.discriminator, paid)
    if (bound := training.settings.penalty.clip_weights) is not None:
        clip_weights(training.net.discriminator, bound)
    return DiscriminatorStep(
        loss.detach(),
        real_accuracy=_share(real_logits > 0),
        fake_accuracy=_share(fake_logits < 0),
        pair_accuracy=_share(real_logits > fake_logits),
        gradient_norm=norm,
        penalty=_kept(penalty),
    )


def _penalty(
    training: GanTraining, draws: _StepDraws, real: Float[Tensor, "batch c h w"], fake: Float[Tensor, "batch c h w"]
) -> Float[Tensor, ""] | None:
    """The weighted mean of the gradient penalties; None without, and between the steps that they are due at.

    In float32: half of their gradients' digits would be lost otherwise.
    """
    settings, critic = training.settings.penalty, training.net.discriminator
    if not settings.has_gradients or (training.step + 1) % settings.every:
        return None
    found = torch.zeros((), device=training.device)
    if settings.r1:
        found = found + settings.r1 * r1_penalty(critic, real).mean()
    if settings.r2:
        found = found + settings.r2 * r2_penalty(critic, fake).mean()
    if settings.wgan_gp:
        share = torch.rand(len(real), generator=draws.generator).to(training.device)
        found = found + settings.wgan_gp * wgan_gp_penalty(critic, real, fake, share).mean()
    if settings.dragan:
        noise = torch.randn(real.shape, generator=draws.generator).to(training.device)
        found = found + settings.dragan * dragan_penalty(critic, real, noise).mean()
    return settings.every * found


def _update_generator(
    training: GanTraining, played: Game, draws: _StepDraws, real: Float[Tensor, "batch c h w"]
) -> GeneratorStep:
    """One step of Adam on the mean loss of freshly generated images, beside the real ones where it compares them."""
    with precision(training.config.optimiser, training.device):
        fake = training.net.generator(draws.latent(len(real), training.device))
        fake_logits = training.net.discriminator(draws.views(fake))
        with torch.no_grad():
            real_logits = training.net.discriminator(draws.views(real)) if played.compares else fake_logits
    loss = played.generator_loss(real_logits.float(), fake_logits.float()).mean()
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


def _kept(number: Tensor | None) -> Tensor | None:
    return None if number is None else number.detach()


def _share(condition: Tensor) -> Tensor:
    return condition.float().mean()


def _named(player: str, numbers: DiscriminatorStep | GeneratorStep) -> dict[str, Tensor]:
    return {f"{player}_{name}": value for name, value in vars(numbers).items() if value is not None}


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
