"""Training an autoencoder: a loop of named steps, every one a function of (seed, step) and the state before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.autoencoder.code import active_numbers
from training.autoencoder.corruption import corrupt
from training.autoencoder.model import Autoencoder
from training.autoencoder.objective import ReconstructionTerms, reconstruction_terms
from training.config import AutoencoderConfig, RunConfig
from training.data.datasets import DataSplits
from training.loops.autoencoder_pictures import draw_pictures
from training.loops.averaging import WeightAverage
from training.loops.journal import Journal
from training.loops.one_net import OneNetTraining, walk_through
from training.loops.run_folder import RunFolder
from training.loops.schedule import (
    FIXED_DRAW,
    Plan,
    learning_rate_factor,
    precision,
    set_learning_rate,
    step_generator,
)
from training.loops.watched import Watched, observed


@dataclass
class AutoencoderTraining(OneNetTraining):
    """The state of a run: the net, its average, the optimiser and how many steps are behind it."""

    config: RunConfig
    settings: AutoencoderConfig
    device: torch.device
    net: Autoencoder
    average: WeightAverage[Autoencoder]
    optimiser: torch.optim.Adam
    step: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, config: RunConfig, device: torch.device) -> AutoencoderTraining:
        """A fresh run: weights drawn from the run's seed."""
        settings = config.model
        if not isinstance(settings, AutoencoderConfig):
            raise TypeError(f"this loop trains autoencoders, the configuration describes a {settings.family}")
        torch.manual_seed(config.seed)
        net = Autoencoder.from_config(settings, config.data)
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(net.parameters(), lr=config.optimiser.learning_rate, betas=config.optimiser.betas)
        return cls(config, settings, device, net, WeightAverage(net, config.optimiser.average_decay), optimiser)


def train_autoencoder(
    config: RunConfig, data: DataSplits, run: RunFolder, *, device: torch.device, resume: bool, progress: bool
) -> Autoencoder:
    """Train to the last epoch and return the averaged net; pictures, journal and checkpoint go to the run folder."""
    training = AutoencoderTraining.start(config, device)

    def take_step(plan: Plan, chosen: NDArray[np.int64]) -> Callable[[], dict[str, float]]:
        terms = _optimisation_step(training, plan, data.train.pictures[chosen])
        return lambda: _training_numbers(terms)

    def end_epoch(plan: Plan, journal: Journal) -> None:
        _end_of_epoch(training, plan, data, run, journal)

    walk_through(
        training,
        run,
        images=len(data.train),
        resume=resume,
        progress=progress,
        take_step=take_step,
        end_epoch=end_epoch,
    )
    return training.average.average


def _optimisation_step(training: AutoencoderTraining, plan: Plan, pictures: NDArray[np.uint8]) -> ReconstructionTerms:
    """One step of Adam on the batch's mean loss; returns the terms before the step."""
    optimiser, settings = training.config.optimiser, training.settings
    generator = step_generator(training.config.seed, training.step)
    image = observed(pictures, generator if training.config.data.binarise else None)
    seen = corrupt(image, settings.corruption, generator)
    active = active_numbers(settings.sparsity, settings.latent_size, training.step / plan.steps_per_epoch)
    with precision(optimiser, training.device):
        terms = reconstruction_terms(
            training.net,
            image.to(training.device),
            seen.to(training.device),
            kind=settings.reconstruction,
            active=active,
        )
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.optimiser, optimiser.learning_rate * factor)
    training.optimiser.zero_grad(set_to_none=True)
    terms.loss.mean().backward()
    if optimiser.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(training.net.parameters(), optimiser.clip_norm)
    training.optimiser.step()
    training.average.update(training.net, training.step)
    training.step += 1
    return terms


def _training_numbers(terms: ReconstructionTerms) -> dict[str, float]:
    means = {"reconstruction_error": terms.error, "sparsity_penalty": terms.penalty}
    return {name: float(value.detach().mean()) for name, value in means.items()}


@torch.no_grad()
def _end_of_epoch(
    training: AutoencoderTraining, plan: Plan, data: DataSplits, run: RunFolder, journal: Journal
) -> None:
    """Validate the averaged net on the same images, spoilt in the same way every time; now and then draw pictures."""
    settings, epoch = training.settings, training.step // plan.steps_per_epoch
    generator = step_generator(training.config.seed, FIXED_DRAW)
    watched = Watched.of(data, generator if training.config.data.binarise else None)
    seen = corrupt(watched.image, settings.corruption, generator).to(training.device)
    watched, net = watched._replace(image=watched.image.to(training.device)), training.average.average
    with precision(training.config.optimiser, training.device):
        terms = reconstruction_terms(net, watched.image, seen, kind=settings.reconstruction)
        journal.record(training.step, {"validation_reconstruction_error": float(terms.error.mean())})
        if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
            draw_pictures(net, watched, seen, run, name=f"epoch_{epoch:04d}")
