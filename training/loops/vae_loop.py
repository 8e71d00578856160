"""Training a VAE: an explicit loop of named steps, every one a function of (seed, step) and the state before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import RunConfig, VaeConfig
from training.data.datasets import DataSplits, ImageSet
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
from training.loops.vae_pictures import draw_pictures, told
from training.loops.watched import SHOWN, Watched, observed
from training.vae.hierarchical import make_vae
from training.vae.model import VariationalAutoencoder
from training.vae.objective import (
    ElboTerms,
    Signal,
    doubly_reparameterised_signal,
    elbo_terms,
    importance_weighted_signal,
    negative_elbo_loss,
    score_function_signal,
    warmup_weight,
)

AT_ONCE = 250


@dataclass
class VaeTraining(OneNetTraining):
    """The state of a run: the net, its average, the optimiser and how many steps are behind it."""

    config: RunConfig
    settings: VaeConfig
    device: torch.device
    net: VariationalAutoencoder
    average: WeightAverage[VariationalAutoencoder]
    optimiser: torch.optim.Adam
    step: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, config: RunConfig, device: torch.device, *, classes: int = 0) -> VaeTraining:
        """A fresh run on data of so many classes: weights drawn from the run's seed."""
        settings = config.model
        if not isinstance(settings, VaeConfig):
            raise TypeError(f"this loop trains VAEs, the configuration describes a {settings.family}")
        torch.manual_seed(config.seed)
        net = make_vae(settings, config.data, classes=classes)
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(net.parameters(), lr=config.optimiser.learning_rate, betas=config.optimiser.betas)
        return cls(config, settings, device, net, WeightAverage(net, config.optimiser.average_decay), optimiser)


def train_vae(
    config: RunConfig, data: DataSplits, run: RunFolder, *, device: torch.device, resume: bool, progress: bool
) -> VariationalAutoencoder:
    """Train to the last epoch and return the averaged net; pictures, journal and checkpoint go to the run folder."""
    training = VaeTraining.start(config, device, classes=len(data.classes or ()))

    def take_step(plan: Plan, chosen: NDArray[np.int64]) -> Callable[[], dict[str, float]]:
        terms = _optimisation_step(training, plan, data.train.take(chosen))
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


def _optimisation_step(training: VaeTraining, plan: Plan, batch: ImageSet) -> ElboTerms:
    """One step of Adam on the batch's mean loss; returns the terms before the step."""
    optimiser = training.config.optimiser
    generator = step_generator(training.config.seed, training.step)
    image = observed(batch.pictures, generator if training.config.data.binarise else None).to(training.device)
    label = told(training.net, batch.labels)
    samples = _samples(training, plan)
    noise = torch.randn(len(image), samples, training.settings.latent_size, generator=generator).to(training.device)
    with precision(optimiser, training.device):
        signal = _signal(training, plan, image, noise, label)
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.optimiser, optimiser.learning_rate * factor)
    training.optimiser.zero_grad(set_to_none=True)
    signal.loss.mean().backward()
    if optimiser.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(training.net.parameters(), optimiser.clip_norm)
    training.optimiser.step()
    training.average.update(training.net, training.step)
    training.step += 1
    return signal.terms


def _samples(training: VaeTraining, plan: Plan) -> int:
    """Draws an image in this step: one for the ELBO, K once the importance-weighted bound is maximised."""
    objective = training.settings.objective
    weighted = training.step >= round((1 - objective.importance_weighted_share) * plan.total_steps)
    return objective.importance_samples if weighted else 1


def _signal(training: VaeTraining, plan: Plan, image: Tensor, noise: Tensor, label: Tensor | None) -> Signal:
    """What this step minimises: minus the bound that the configuration names, by the estimator that it names."""
    net, objective = training.net, training.settings.objective
    weight = objective.beta * warmup_weight(training.step / plan.steps_per_epoch, objective.warmup_epochs)
    if noise.shape[1] == 1 and (objective.kl == "closed_form" or objective.free_bits):
        free_bits = objective.free_bits
        terms = elbo_terms(net, image, noise[:, 0], kl=objective.kl, free_bits=free_bits, label=label)
        return Signal(negative_elbo_loss(terms, kl_weight=weight), terms)
    match objective.estimator:
        case "reparameterised":
            return importance_weighted_signal(net, image, noise, kl_weight=weight, label=label)
        case "doubly_reparameterised":
            return doubly_reparameterised_signal(net, image, noise, kl_weight=weight, label=label)
        case "score_function":
            return score_function_signal(net, image, noise, kl_weight=weight, label=label)


def _training_numbers(terms: ElboTerms) -> dict[str, float]:
    means = {"elbo_nats": terms.elbo, "reconstruction_nats": terms.reconstruction, "kl_nats": terms.kl}
    return {name: float(value.detach().mean()) for name, value in means.items()}


def _end_of_epoch(training: VaeTraining, plan: Plan, data: DataSplits, run: RunFolder, journal: Journal) -> None:
    """Validate the averaged net on the same images and noise every time; draw pictures every few epochs."""
    epoch = training.step // plan.steps_per_epoch
    generator = step_generator(training.config.seed, FIXED_DRAW)
    watched = Watched.of(data, generator if training.config.data.binarise else None)
    watched = watched._replace(image=watched.image.to(training.device))
    noise = torch.randn(len(watched.image), training.settings.latent_size, generator=generator).to(training.device)
    net = training.average.average
    label = told(net, watched.labels)
    with torch.no_grad(), precision(training.config.optimiser, training.device):
        elbo = torch.cat([_watched_elbo(training, watched.image, noise, label, part) for part in _parts(len(noise))])
        journal.record(training.step, {"validation_elbo_nats": float(elbo.mean())})
        if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
            prior_noise = torch.randn(max(SHOWN, len(noise)), net.prior.noise_size, generator=generator)
            draw_pictures(net, watched, noise, prior_noise.to(training.device), run, name=f"epoch_{epoch:04d}")


def _parts(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def _watched_elbo(training: VaeTraining, image: Tensor, noise: Tensor, label: Tensor | None, part: slice) -> Tensor:
    label = None if label is None else label[part]
    kl = training.settings.objective.kl
    return elbo_terms(training.average.average, image[part], noise[part], kl=kl, label=label).elbo
