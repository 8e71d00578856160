"""Training a GAN: an explicit loop of named steps, every one a function of (seed, step) and the state before it.

One step is one batch of real images and one update of the discriminator; after every `discriminator_steps` of them the
generator is updated once (algorithm 1 of Goodfellow et al. 2014).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import to_bytes
from app.latent.noise import standard_normal
from training.config import RunConfig
from training.data.datasets import DataSplits
from training.evaluation.judge import Judge
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.objective import game
from training.loops.checkpoint import CheckpointClock, load_checkpoint, save_checkpoint
from training.loops.gan_steps import take_step
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.journal import Journal
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan
from training.loops.selection import Selection

SAMPLES = 64
AT_ONCE = 500
RECORD_EVERY_GENERATOR_STEPS = 50


def train_gan(
    config: RunConfig,
    data: DataSplits,
    run: RunFolder,
    *,
    device: torch.device,
    resume: bool,
    progress: bool,
    judge: Judge | None = None,
) -> GenerativeAdversarialNetwork:
    """Train to the last epoch and return the averaged generator with its discriminator.

    Pictures, journal and checkpoint go to the run folder. With a judge, samples are now and then compared with
    validation images, and the weights behind the best ones kept there as well; nothing is trained on those images.
    """
    training = GanTraining.start(config, device, classes=len(data.classes or ()))
    if resume:
        training.restore(load_checkpoint(run.checkpoint))
    plan = Plan.of(config, len(data.train))
    played = game(training.settings.objective.kind)
    selection = _selection(training, data, run, judge)
    clock, speed = CheckpointClock(config.checkpoint_every_s), _Speedometer()
    with Journal(run.path, plan, done_steps=training.step, progress=progress) as journal:
        for chosen in plan.batches(done_steps=training.step):
            numbers = take_step(training, plan, played, data.train.take(chosen))
            speed.passed(len(chosen))
            journal.advance()
            if _is_recorded(training):
                journal.record(training.step, {**_as_floats(numbers), "images_per_s": speed.read()})
            if selection and _is_looked_at(training, plan):
                samples = _samples(training, selection.indices)
                journal.record(training.step, selection.look(training.step, training.averaged_weights(), samples))
            if training.step % plan.steps_per_epoch == 0:
                _end_of_epoch(training, plan, run)
            training.train_seconds += clock.lap()
            if clock.due() or training.step == plan.total_steps:
                save_checkpoint(run.checkpoint, training.checkpoint())
    return training.averaged()


def _as_floats(numbers: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}


def _is_recorded(training: GanTraining) -> bool:
    """Now and then, and only where both players have just moved."""
    return training.step % (RECORD_EVERY_GENERATOR_STEPS * training.settings.objective.discriminator_steps) == 0


def _selection(training: GanTraining, data: DataSplits, run: RunFolder, judge: Judge | None) -> Selection | None:
    if judge is None:
        return None
    images = training.settings.selection.images
    return Selection(judge, data.validation, run.best_file, images=images, done_steps=training.step)


def _is_looked_at(training: GanTraining, plan: Plan) -> bool:
    """Every so many steps of the generator, just after one, and at the end."""
    every = training.settings.selection.every_steps * training.settings.objective.discriminator_steps
    return training.step == plan.total_steps or (every > 0 and training.step % every == 0)


def _end_of_epoch(training: GanTraining, plan: Plan, run: RunFolder) -> None:
    """Draw what the averaged generator makes of the same noise, every few epochs and at the end."""
    epoch = training.step // plan.steps_per_epoch
    if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
        samples = _samples(training, range(SAMPLES))
        run.save_grid(f"samples/epoch_{epoch:04d}", samples, columns=training.net.classes or None)


@torch.no_grad()
def _samples(training: GanTraining, indices: range) -> NDArray[np.uint8]:
    """The pictures (N, H, W, C) of the noise behind the service's samples for the run's seed, as the generator stands.

    Of a conditional model the classes take turns.
    """
    noise = torch.from_numpy(standard_normal(training.config.seed, indices, training.settings.latent_size))
    classes = training.net.classes
    labels = torch.arange(len(noise)) % classes if classes else None
    images = []
    for rows in torch.arange(len(noise)).split(AT_ONCE):
        label = None if labels is None else labels[rows].to(training.device)
        images.append(training.average.average(noise[rows].to(training.device), label).cpu().numpy())
    return to_bytes(np.concatenate(images), PIXELS)


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
