"""How good a model's samples are: distances from test pictures, coverage, classes, copies, from its files alone.

Everything is measured in the features of a frozen classifier (`judge.py`), and everything beside what as many training
pictures get in the place of the samples: a perfect model's samples are as new pictures of the same kind, and no
distance between two finite sets is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32

from app.manifest import Manifest, Metric
from training.config import ConfigError
from training.data.domains import ORIGINAL
from training.data.splits import DataSplits, ImageSet
from training.evaluation.bounds import Average
from training.evaluation.frechet import frechet_between
from training.evaluation.judge import Features, Judge, Pictures, Seen
from training.evaluation.kernel_distance import kernel_distance
from training.evaluation.manifolds import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS, overlap
from training.evaluation.memorisation import COPY_QUANTILE, memorisation
from training.evaluation.modes import Modes
from training.evaluation.protocol import SEED, as_metric
from training.evaluation.published import DISCOVERED, Labels, PublishedGraphs, subset

SAMPLES = 10_000
"""What published distances are usually of; fewer pictures are further apart."""
COMPARED = 2_000
"""Samples, and as many test pictures, whose nearest training pictures are looked up."""
KERNEL_UNIT = 1e-3
NEARER = "probability to be nearer to a training image than a test image is; 0.5: as new, 1: a copy"
COPIES = f"share of the samples nearer to a training image than all but {COPY_QUANTILE:.0%} of the test images"


@dataclass(frozen=True)
class Samples:
    """Pictures that a version draws: those that the service gives for seed 0, and the labels that were asked for."""

    pictures: Pictures
    labels: Labels | None
    unknown_labels: bool = False
    """Whether the labels are classes that a judge cannot know: without a name, or domains."""

    @classmethod
    def of(cls, graphs: PublishedGraphs, manifest: Manifest, like: ImageSet) -> Samples:
        """The first samples, as many as there are pictures in `like` and, of a conditional model, of their classes.

        Raises ConfigError where it has none.
        """
        if "sample" not in manifest.capabilities:
            raise ConfigError(f"{manifest.name}@{manifest.version} cannot sample: it is not a generative model")
        told = not manifest.conditional_roles.isdisjoint({"noise_to_latent", "latent_to_image"})
        labels, first = like.labels if told else None, manifest.classes[:1]
        if first == (f"{DISCOVERED} 0",):
            labels = np.arange(len(like)) % len(manifest.classes)
        unknown = first in ((f"{DISCOVERED} 0",), (ORIGINAL,))
        return cls(graphs.sample(len(like), latent_size=manifest.latent.size, labels=labels), labels, unknown)


@dataclass(frozen=True)
class Jury:
    """A judge and what it has seen of the data: as many training pictures as there are samples, and test pictures."""

    judge: Judge
    data: DataSplits
    train: ImageSet
    train_seen: Seen
    test: ImageSet
    test_seen: Seen

    @classmethod
    def of(cls, judge: Judge, data: DataSplits, samples: int = SAMPLES) -> Jury:
        """Look at random training pictures and test pictures, `samples` of each at most."""
        train, test = subset(data.train, samples), subset(data.test, samples)
        return cls(judge, data, train, judge.look_at(train.pictures), test, judge.look_at(test.pictures))

    def quality(self, samples: Samples) -> dict[str, Metric]:
        """Every measure of samples, each with its protocol."""
        seen = self.judge.look_at(samples.pictures)
        ours = self._closeness(seen.features)
        found = {name: _beside(metric, self.floor[name].value) for name, metric in ours.items()}
        found |= self._classes(seen)
        if samples.labels is not None and not samples.unknown_labels:
            found |= self._labels(seen, samples.labels)
        return found | self._copies(samples, seen)

    @cached_property
    def floor(self) -> dict[str, Metric]:
        """What as many training images get in the place of samples: no distance between two finite sets is zero."""
        return self._closeness(self.train_seen.features)

    def _closeness(self, features: Features) -> dict[str, Metric]:
        """How far features are from those of the test images, and how both sets overlap."""
        real, code = self.test_seen.features, self.judge.code
        protocol = f"{self.judge.features_in_words}; {_samples(len(features))} against {len(real):,} test images"
        lying, kernel = overlap(real, features), kernel_distance(features, real)
        kernel = Average(kernel.mean / KERNEL_UNIT, kernel.standard_error / KERNEL_UNIT)
        narrow, wide = f"k = {PRECISION_NEIGHBOURS}; {protocol}", f"k = {DENSITY_NEIGHBOURS}; {protocol}"
        return {
            "frechet_distance": as_metric(frechet_between(features, real), f"FD-{code}", protocol),
            "kernel_distance": as_metric(kernel, f"10⁻³ KID-{code}", f"cubic kernel, unbiased; {protocol}"),
            "precision": as_metric(lying.precision, "share of the samples", narrow),
            "recall": as_metric(lying.recall, "share of the test images", narrow),
            "density": as_metric(lying.density, "1 where samples lie as the data do", wide),
            "coverage": as_metric(lying.coverage, "share of the test images", wide),
        }

    def _classes(self, seen: Seen) -> dict[str, Metric]:
        """How evenly the samples fall on the classes."""
        names, count = self.judge.card.classes, len(seen.classes)
        shares, data = (Modes.of(each.classes, len(names)).shares for each in (seen, self.test_seen))
        found = {}
        for which, index in (("smallest", shares.argmin()), ("largest", shares.argmax())):
            protocol = f"{names[index]}; {_samples(count)} by {self.judge.in_words}; test images: {data[index]:.3f}"
            found[f"{which}_class"] = as_metric(_share(shares[index], count), "share of the samples", protocol)
        return found

    def _labels(self, seen: Seen, asked: Labels) -> dict[str, Metric]:
        """Whether samples are of the classes that were asked for."""
        came = Average.of((seen.classes == asked).astype(np.float64))
        protocol = f"{_samples(len(asked))}, of the classes of random training images, by {self.judge.in_words}"
        real = float(np.mean(self.test_seen.classes == self.test.labels))
        return {"label_agreement": _beside(as_metric(came, "share of the samples", protocol), real, "test images")}

    def _copies(self, samples: Samples, seen: Seen) -> dict[str, Metric]:
        """How near samples come to training images, in pixels and in features, beside test images."""
        count, train = min(COMPARED, len(self.train), len(self.test)), self.data.train.pictures
        pixels = [_flat(part) for part in (samples.pictures[:count], self.test.pictures[:count], train)]
        features = [seen.features[:count], self.test_seen.features[:count], self.judge.look_at(train).features]
        of = f"{_samples(count)}, as many test images, all {len(train):,} training images"
        found = {}
        for space, rows, told in (
            ("pixels", pixels, of),
            ("features", features, f"{self.judge.features_in_words}; {of}"),
        ):
            copied = memorisation(*rows)
            found[f"nearer_in_{space}"] = as_metric(copied.nearer, NEARER, told)
            found[f"copies_in_{space}"] = as_metric(copied.copies, COPIES, told)
        return found


def _beside(metric: Metric, floor: float, whose: str = "as many training images") -> Metric:
    """The metric, its protocol ending in what real pictures get."""
    return metric.model_copy(update={"protocol": f"{metric.protocol}; {whose}: {floor:.4g}"})


def _samples(count: int) -> str:
    return f"{count:,} samples (seed {SEED})"


def _share(share: float, count: int) -> Average:
    return Average(float(share), math.sqrt(share * (1 - share) / count))


def _flat(pictures: Pictures) -> Float32[np.ndarray, "n pixels"]:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255
