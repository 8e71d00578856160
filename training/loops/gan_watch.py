"""What a GAN's losses do not tell: whether samples have collapsed, and whether the discriminator can still teach.

Looked at once an epoch, on the same pictures and noise every time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from app.images.pixels import to_bytes, to_floats
from training.data.datasets import DataSplits
from training.evaluation.judge import Judge, Seen
from training.evaluation.kernel_distance import kernel_distance
from training.evaluation.quality import KERNEL_UNIT
from training.gan.generator import Generator
from training.loops.gan_shown import judged, reconstructed
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.schedule import FIXED_DRAW, precision, step_generator

Pictures = UInt8[np.ndarray, "n h w c"]

WATCHED = 2000
"""Held-out pictures, and as many samples."""
NEIGHBOURS_AMONG = 500
"""Of these, those whose nearest neighbours are looked for."""
AT_ONCE = 250
COLLAPSED_DIVERSITY = 0.5
"""Samples whose nearest others are at half the distance that pictures' are: copies of each other."""
COLLAPSED_CLASSES = 0.5
"""Samples of half as many classes, by the exponential of their entropy."""
SATURATED_ACCURACY = 0.99


class Sighting(NamedTuple):
    """What was seen: numbers for the journal, and what must be said aloud."""

    numbers: dict[str, float]
    warnings: list[str]


@dataclass(frozen=True)
class Watch:
    """Held-out pictures: how diverse they are and, if there is a judge, what it sees in them."""

    pictures: Pictures
    labels: Int64[np.ndarray, " n"] | None
    diversity: float
    judge: Judge | None
    seen: Seen | None

    @classmethod
    def of(cls, data: DataSplits, judge: Judge | None) -> Self:
        """The first validation pictures: always the same ones."""
        images = data.validation.take(np.arange(min(WATCHED, len(data.validation))))
        seen = None if judge is None else judge.look_at(images.pictures)
        return cls(images.pictures, images.labels, diversity(images.pictures), judge, seen)

    def look(self, training: GanTraining) -> Sighting:
        """Look at samples of the averaged generator; what they are of is known where there is a judge."""
        latent = self._latents(training)
        samples = self._draw(training, training.average.average, latent)
        numbers = {
            "validation_pair_accuracy": self._pair_accuracy(training, samples, latent),
            "diversity": diversity(samples) / self.diversity,
        }
        if training.published_encoder is not None:
            numbers["validation_reconstruction_mse"] = self._reconstruction_error(training)
        if training.settings.condition in ("auxiliary", "semi_supervised") and self.labels is not None:
            numbers["validation_error_percent"] = 100 * self._classification_error(training)
        if self.judge is not None and self.seen is not None:
            drawn = self.judge.look_at(samples)
            numbers["classes"] = effective_classes(drawn.classes) / effective_classes(self.seen.classes)
            distance = kernel_distance(drawn.features, self.seen.features)
            numbers["validation_kernel_distance"] = distance.mean / KERNEL_UNIT
        return Sighting(numbers, list(_warnings(training, numbers)))

    def _latents(self, training: GanTraining) -> Float[Tensor, "n latent"]:
        """As many as there are held-out pictures, the same ones always."""
        noise = step_generator(training.config.seed, FIXED_DRAW)
        latent = torch.randn(len(self.pictures), training.settings.latent_size, generator=noise)
        return latent.to(training.device)

    @torch.no_grad()
    def _draw(self, training: GanTraining, generator: Generator, latent: Float[Tensor, "n latent"]) -> Pictures:
        """The samples of latents, of the held-out pictures' classes where the model is conditional."""
        parts = [generator(latent[part], self._drawn_classes(training, part)) for part in _parts(len(latent))]
        return to_bytes(torch.cat(parts).float().cpu().numpy(), PIXELS)

    @torch.no_grad()
    def _pair_accuracy(self, training: GanTraining, samples: Pictures, latent: Float[Tensor, "n latent"]) -> float:
        """How often the discriminator finds what a held-out picture gives more real than what a sample gives.

        0.5 is guessing. What is given are images, with their latents, or latents alone: what it is shown in training.
        """
        discriminator = training.net.discriminator.eval()
        wins = []
        for part in _parts(len(samples)):
            label = self._labels(training, part, told=discriminator.is_told)
            real_image, fake_image = (_image(training, rows[part]) for rows in (self.pictures, samples))
            with precision(training.config.optimiser, training.device):
                both = judged(training, training.published_encoder, real_image, fake_image, latent[part])
                real, fake = (discriminator(seen, label) for seen in both)
            wins.append((real > fake).float())
        discriminator.train()
        return torch.cat(wins).mean().item()

    @torch.no_grad()
    def _reconstruction_error(self, training: GanTraining) -> float:
        """Mean squared, of the pixels in [0, 1] of held-out pictures, encoded and drawn again by the averages."""
        errors = []
        for part in _parts(len(self.pictures)):
            image = _image(training, self.pictures[part])
            errors.append(((reconstructed(training, image) - image) / 2).square().flatten(1).mean(dim=1))
        return torch.cat(errors).mean().item()

    @torch.no_grad()
    def _classification_error(self, training: GanTraining) -> float:
        """The share of held-out pictures whose class the published discriminator gets wrong."""
        discriminator = training.published_discriminator.eval()
        found = []
        for part in _parts(len(self.pictures)):
            class_logits = discriminator.verdict(_image(training, self.pictures[part])).class_logits
            assert class_logits is not None  # the conditions that this is asked of have them
            found.append(class_logits.argmax(dim=1).cpu().numpy())
        training.net.discriminator.train()
        return float(np.mean(np.concatenate(found) != self.labels))

    def _drawn_classes(self, training: GanTraining, part: slice) -> Tensor | None:
        """Those of the held-out pictures; discovered ones take turns."""
        if training.settings.condition != "discovered":
            return self._labels(training, part, told=bool(training.net.classes))
        numbers = torch.arange(len(self.pictures))[part] % training.net.classes
        return numbers.to(training.device)

    def _labels(self, training: GanTraining, part: slice, *, told: bool) -> Tensor | None:
        if not told or self.labels is None:
            return None
        return torch.from_numpy(self.labels[part]).to(training.device)


def diversity(pictures: Pictures) -> float:
    """The median distance, root mean square of pixels in [0, 1], from a picture to the nearest other one."""
    rows = torch.from_numpy(pictures[:NEIGHBOURS_AMONG].reshape(-1, pictures[0].size)).double() / 255
    distance = torch.cdist(rows[:NEIGHBOURS_AMONG], rows[:NEIGHBOURS_AMONG]).fill_diagonal_(math.inf)
    return distance.min(dim=1).values.median().item() / math.sqrt(rows.shape[1])


def effective_classes(classes: Int64[np.ndarray, " n"]) -> float:
    """exp of the entropy of the classes' shares: their number where they are even, 1 where there is one."""
    shares = np.bincount(classes) / len(classes)
    shares = shares[shares > 0]
    return math.exp(-float((shares * np.log(shares)).sum()))


def _warnings(training: GanTraining, numbers: dict[str, float]) -> Iterator[str]:
    if (spread := numbers["diversity"]) < COLLAPSED_DIVERSITY:
        yield f"collapse: samples lie {spread:.0%} as far from one another as held-out pictures do"
    if (share := numbers.get("classes", 1.0)) < COLLAPSED_CLASSES:
        yield f"collapse: samples are of {share:.0%} as many classes as held-out pictures"
    critic = training.settings.objective.kind == "wasserstein"  # whose gradient does not vanish where it is right
    if (accuracy := numbers["validation_pair_accuracy"]) > SATURATED_ACCURACY and not critic:
        yield f"the discriminator is saturated: it tells {accuracy:.1%} of pairs of held-out pictures and samples apart"


def _image(training: GanTraining, pictures: Pictures) -> Float[Tensor, "n c h w"]:
    return torch.from_numpy(to_floats(pictures, PIXELS)).to(training.device)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]
