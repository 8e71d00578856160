"""Training from few labels: every step sees a batch of unlabelled pictures and one of labelled ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from training.config import ConfigError, RunConfig, VaeConfig
from training.data.datasets import DataSplits, ImageSet
from training.data.few_labels import labelled
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
from training.loops.vae_pictures import draw_pictures
from training.loops.watched import SHOWN, Watched, observed
from training.nets.views import class_views
from training.sections import FewLabelsConfig
from training.vae.few_labels import FewLabelsModel, FewLabelsTerms, few_labels_terms
from training.vae.objective import warmup_weight


@dataclass
class FewLabelsTraining(OneNetTraining):
    """The state of a run: the model, its average, the optimiser and how many steps are behind it."""

    config: RunConfig
    settings: VaeConfig
    few: FewLabelsConfig
    device: torch.device
    net: FewLabelsModel
    average: WeightAverage[FewLabelsModel]
    optimiser: torch.optim.Adam
    step: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, config: RunConfig, device: torch.device, *, classes: int) -> FewLabelsTraining:
        """A fresh run on data of so many classes: weights drawn from the run's seed."""
        settings = config.model
        if not isinstance(settings, VaeConfig) or settings.few_labels is None:
            raise TypeError("this loop learns from few labels, and the configuration has no model.few_labels")
        torch.manual_seed(config.seed)
        model = FewLabelsModel.from_config(settings, config.data, classes=classes)
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rate, betas = config.optimiser.learning_rate, config.optimiser.betas
        optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=betas)
        average = WeightAverage(model, config.optimiser.average_decay)
        return cls(config, settings, settings.few_labels, device, model, average, optimiser)


def train_few_labels(
    config: RunConfig, data: DataSplits, run: RunFolder, *, device: torch.device, resume: bool, progress: bool
) -> FewLabelsModel:
    """Train to the last epoch and return the averaged model. `data.train` holds few labels; the others are hidden."""
    known = labelled(data.train)
    if data.classes is None or known.labels is None or not len(known):
        raise ConfigError("few labels are still some: set data.labelled_images")
    training = FewLabelsTraining.start(config, device, classes=len(data.classes))

    def take_step(plan: Plan, chosen: NDArray[np.int64]) -> Callable[[], dict[str, float]]:
        terms = _optimisation_step(training, plan, data.train.pictures[chosen], known)
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


def _optimisation_step(
    training: FewLabelsTraining, plan: Plan, pictures: np.ndarray, known: ImageSet
) -> FewLabelsTerms:
    """One step of Adam on the loss of an unlabelled and a labelled batch; returns the terms before the step."""
    optimiser = training.config.optimiser
    generator = step_generator(training.config.seed, training.step)
    told, label = _labelled_batch(training, known, generator)
    both = np.concatenate([pictures, told])
    with precision(optimiser, training.device):
        image, log_weights, logits = _answers(training, plan, both, generator)
        averaged = _averaged_logits(training, plan, image[: len(pictures)])
    heed_share = training.few.heed_share if _past(training, plan, training.few.heed_epochs) else 0.0
    terms = few_labels_terms(log_weights, logits, label, few=training.few, heed_share=heed_share, averaged=averaged)
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.optimiser, optimiser.learning_rate * factor)
    training.optimiser.zero_grad(set_to_none=True)
    terms.loss(training.few).backward()
    if optimiser.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(training.net.parameters(), optimiser.clip_norm)
    training.optimiser.step()
    training.average.update(training.net, training.step)
    training.step += 1
    return terms


def _labelled_batch(
    training: FewLabelsTraining, known: ImageSet, generator: torch.Generator
) -> tuple[np.ndarray, Int64[Tensor, " few"]]:
    """Labelled pictures drawn with replacement, and their labels."""
    chosen = torch.randint(len(known), (training.few.labelled_batch,), generator=generator).numpy()
    batch = known.take(chosen)
    if batch.labels is None:
        raise TypeError("labelled pictures have labels")
    return batch.pictures, torch.from_numpy(batch.labels).to(training.device)


def _answers(
    training: FewLabelsTraining, plan: Plan, pictures: np.ndarray, generator: torch.Generator
) -> tuple[Float[Tensor, "batch c h w"], Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]]:
    """The pictures as the model reads them, the bounds on their log p(x|y), and the logits of q(y|x) on a view of each.

    The bound holds for any q(y|·), so that it may look at another view than the density does; and what it says of all
    views of a picture is held to the one answer of the density.
    """
    device = training.device
    grey = observed(pictures, None)
    views = class_views(grey, training.few, generator)
    if training.config.data.binarise:
        grey, views = torch.bernoulli(grey, generator=generator), torch.bernoulli(views, generator=generator)
    noise = torch.randn(len(grey), training.settings.latent_size, generator=generator).to(device)
    image = grey.to(device)
    evidence = training.net.evidence_by_label(image, noise)
    weight = warmup_weight(training.step / plan.steps_per_epoch, training.settings.objective.warmup_epochs)
    return image, evidence.log_weights(weight), training.net(views.to(device))


@torch.no_grad()
def _averaged_logits(
    training: FewLabelsTraining, plan: Plan, image: Float[Tensor, "batch c h w"]
) -> Float[Tensor, "batch classes"] | None:
    """What the averaged weights say of the unlabelled pictures; None as long as nothing must agree with it."""
    if training.few.agreement_weight == 0 or not _past(training, plan, training.few.agreement_epochs):
        return None
    logits: Tensor = training.average.average(image)
    return logits


def _past(training: FewLabelsTraining, plan: Plan, epochs: float) -> bool:
    return training.step >= epochs * plan.steps_per_epoch


def _training_numbers(terms: FewLabelsTerms) -> dict[str, float]:
    means = {
        "elbo_nats": terms.unlabelled,
        "labelled_elbo_nats": terms.labelled,
        "label_log_probability": terms.log_right,
    }
    return {name: float(value.detach().mean()) for name, value in means.items()}


def _end_of_epoch(training: FewLabelsTraining, plan: Plan, data: DataSplits, run: RunFolder, journal: Journal) -> None:
    """Watch the averaged model on validation pictures; draw pictures every few epochs. Nothing is decided by it."""
    epoch = training.step // plan.steps_per_epoch
    generator = step_generator(training.config.seed, FIXED_DRAW)
    watched = Watched.of(data, generator if training.config.data.binarise else None)
    watched = watched._replace(image=watched.image.to(training.device))
    model = training.average.average
    with torch.no_grad(), precision(training.config.optimiser, training.device):
        wrong = model(watched.image).argmax(dim=1).cpu().numpy() != watched.labels
        journal.record(training.step, {"validation_error_percent": 100 * float(np.mean(wrong))})
        if epoch % training.config.samples_every_epochs == 0 or training.step == plan.total_steps:
            noise = torch.randn(len(watched.image), training.settings.latent_size, generator=generator)
            prior_noise = torch.randn(max(SHOWN, len(noise)), model.vae.prior.noise_size, generator=generator)
            noise, prior_noise = noise.to(training.device), prior_noise.to(training.device)
            draw_pictures(model.vae, watched, noise, prior_noise, run, name=f"epoch_{epoch:04d}")
