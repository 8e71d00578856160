"""Training a GAN: an explicit loop of named steps, every one a function of (seed, step) and the state before it.

One step is one batch of real images and one update of the discriminator; after every `discriminator_steps` of them the
generator is updated once (algorithm 1 of Goodfellow et al. 2014).
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from training.config import ConfigError, RunConfig
from training.data.datasets import DataSplits, ImageSet
from training.data.few_labels import labelled
from training.evaluation.judge import Judge
from training.gan.model import GenerativeAdversarialNetwork
from training.gan.objective import game
from training.loops.checkpoint import CheckpointClock, load_checkpoint, save_checkpoint
from training.loops.gan_pictures import draw_reconstructions, draw_samples, sample_pictures
from training.loops.gan_steps import take_step
from training.loops.gan_training import GanTraining
from training.loops.gan_watch import Watch
from training.loops.journal import Journal
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan
from training.loops.selection import Selection

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

    Pictures, journal and checkpoint go to the run folder. A judge says of what classes samples are and, where
    `model.selection` asks for it, compares them now and then with validation images; the weights behind the best ones
    are then kept there as well. Nothing is trained on those images.
    """
    training = GanTraining.start(config, device, classes=len(data.classes or ()))
    if resume:
        training.restore(load_checkpoint(run.checkpoint))
    plan = Plan.of(config, len(data.train))
    played = game(training.settings.objective.kind)
    selection = _selection(training, data, run, judge)
    known = _known(training, data)
    watch = Watch.of(data, judge)
    clock, speed = CheckpointClock(config.checkpoint_every_s), _Speedometer()
    with Journal(run.path, plan, done_steps=training.step, progress=progress) as journal:
        for chosen in plan.batches(done_steps=training.step):
            numbers = take_step(training, plan, played, data.train.take(chosen), known)
            speed.passed(len(chosen))
            journal.advance()
            if _is_recorded(training):
                journal.record(training.step, {**_as_floats(numbers), "images_per_s": speed.read()})
            if selection and _is_looked_at(training, plan):
                journal.record(training.step, _compared(training, selection))
            if training.step % plan.steps_per_epoch == 0:
                _end_of_epoch(training, plan, watch, run, journal)
            training.train_seconds += clock.lap()
            if clock.due() or training.step == plan.total_steps:
                save_checkpoint(run.checkpoint, training.checkpoint())
    return training.averaged()


def _as_floats(numbers: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}


def _is_recorded(training: GanTraining) -> bool:
    """Now and then, and only where both players have just moved."""
    return training.step % (RECORD_EVERY_GENERATOR_STEPS * training.settings.objective.discriminator_steps) == 0


def _known(training: GanTraining, data: DataSplits) -> ImageSet | None:
    """The pictures whose labels are told, where they are few. Raises ConfigError where there are none."""
    if not training.settings.learns_from_few_labels:
        return None
    known = labelled(data.train)
    if not len(known):
        raise ConfigError("few labels are still some: set data.labelled_images")
    return known


def _selection(training: GanTraining, data: DataSplits, run: RunFolder, judge: Judge | None) -> Selection | None:
    if judge is None or not training.settings.selection.every_steps:
        return None
    images = training.settings.selection.images
    return Selection(judge, data.validation, run.best_file, images=images, done_steps=training.step)


def _compared(training: GanTraining, selection: Selection) -> dict[str, float]:
    """Have the averaged weights looked at, and those that the last step left; numbers to record."""
    numbers: dict[str, float] = {}
    for averaged in (True, False):
        samples = sample_pictures(training, selection.indices, averaged=averaged)
        weights = training.weights_to_publish(averaged=averaged)
        numbers |= selection.look(training.step, weights, samples, averaged=averaged)
    return numbers


def _is_looked_at(training: GanTraining, plan: Plan) -> bool:
    """Every so many steps of the generator, just after one, and at the end."""
    every = training.settings.selection.every_steps * training.settings.objective.discriminator_steps
    return training.step == plan.total_steps or training.step % every == 0


def _end_of_epoch(training: GanTraining, plan: Plan, watch: Watch, run: RunFolder, journal: Journal) -> None:
    """Look at samples beside held-out pictures and say what is wrong; draw samples every few epochs and at the end."""
    epoch = training.step // plan.steps_per_epoch
    sighting = watch.look(training)
    journal.record(training.step, sighting.numbers)
    for warning in sighting.warnings:
        journal.say(training.step, warning)
    if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
        draw_samples(training, run, epoch)
        draw_reconstructions(training, run, epoch, watch.pictures)


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
