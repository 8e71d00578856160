"""Two published versions side by side: what each measures, and how sure their difference is.

Both are judged against the same resampled test images, so that what these images have to do with it cancels out of the
difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float64

from training.config import ConfigError
from training.evaluation.estimates import Subject
from training.evaluation.frechet import Moments, frechet_distance
from training.evaluation.judge import Features
from training.evaluation.kernel_distance import kernel_distance, kernel_distances
from training.evaluation.protocol import images_in_words, pixels_in_words
from training.evaluation.quality import KERNEL_UNIT, Jury, Samples
from training.evaluation.resampling import Interval, resample_counts

RESAMPLES = 200
"""Behind an interval of 95 %: five of them lie beyond each end."""


@dataclass(frozen=True)
class Rival:
    """A version and the features of its samples."""

    subject: Subject
    features: Features

    @classmethod
    def of(cls, subject: Subject, jury: Jury) -> Self:
        """Draw as many samples as the jury judges, and let it look at them. ConfigError where the data are not its."""
        if not np.array_equal(subject.data.train.pictures, jury.data.train.pictures):
            raise ConfigError(f"{subject.manifest.name} was trained on other pictures than those it is compared on")
        samples = Samples.of(subject.graphs, subject.manifest, jury.train)
        return cls(subject, jury.judge.look_at(samples.pictures).features)

    @property
    def name(self) -> str:
        """`name@version`."""
        return f"{self.subject.manifest.name}@{self.subject.manifest.version}"


@dataclass(frozen=True)
class Resampled:
    """A number, and the same number of every resample."""

    value: float
    again: Float64[np.ndarray, " r"]

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.value - other.value, self.again - other.again)

    @property
    def interval(self) -> Interval:
        """Where it may lie, at 95 %."""
        return Interval.basic(self.value, self.again)


@dataclass(frozen=True)
class Contest:
    """One measure, lower being better, of two rivals."""

    measure: str
    first: Resampled
    second: Resampled
    protocol: str

    def row(self, names: tuple[str, str]) -> str:
        """A row of a Markdown table: both, the difference, and whose it is, where the interval leaves no doubt."""
        difference = (self.first - self.second).interval
        winner = names[0] if difference.high < 0 else names[1] if difference.low > 0 else "undecided"
        cells = (self.measure, self.first.interval, self.second.interval, difference, winner)
        return f"| {' | '.join(map(str, cells))} |"


def compare(first: Rival, second: Rival, jury: Jury, *, scored: int, samples: int) -> str:
    """Both as a Markdown table, with its protocol; `scored` test images are scored where both can, K = `samples`."""
    names = first.name, second.name
    contests = [_frechet(first, second, jury), _kernel(first, second, jury)]
    why_not = _incomparable(first.subject, second.subject)
    if not why_not:
        contests.append(_nats(first.subject, second.subject, scored, samples))
    lines = [
        f"| lower is better | {names[0]} | {names[1]} | difference | better |",
        "| --- | --- | --- | --- | --- |",
        *(contest.row(names) for contest in contests),
        "",
        f"[…]: 95 % by the bootstrap, {RESAMPLES} resamples of samples and test images",
        *(f"{contest.measure}: {contest.protocol}" for contest in contests),
    ]
    return "\n".join([*lines, f"nats are not compared: {why_not}"] if why_not else lines)


def frechet_resampled(features: Features, real: Features, *, which: int) -> Resampled:
    """The Fréchet distance, with resamples of both sets: the samples' own, of this number, and the test images'."""
    ours = resample_counts(len(features), RESAMPLES, which=which)
    theirs = resample_counts(len(real), RESAMPLES, which=0)
    again = [
        frechet_distance(Moments.of(features, mine), Moments.of(real, its))
        for mine, its in zip(ours, theirs, strict=True)
    ]
    return Resampled(frechet_distance(Moments.of(features), Moments.of(real)), np.array(again))


def kernel_resampled(features: Features, real: Features, *, which: int) -> Resampled:
    """The same of the kernel distance, in its unit."""
    ours = resample_counts(len(features), RESAMPLES, which=which)
    theirs = resample_counts(len(real), RESAMPLES, which=0)
    again = kernel_distances(features, real, ours, theirs) / KERNEL_UNIT
    return Resampled(kernel_distance(features, real).mean / KERNEL_UNIT, again)


def _frechet(first: Rival, second: Rival, jury: Jury) -> Contest:
    real = jury.test_seen.features
    floor = frechet_distance(Moments.of(jury.train_seen.features), Moments.of(real))
    ours, theirs = (frechet_resampled(each.features, real, which=i) for i, each in enumerate((first, second), start=1))
    return Contest(f"FD-{jury.judge.code}", ours, theirs, f"{_protocol(first, jury)}: {floor:.4g}")


def _kernel(first: Rival, second: Rival, jury: Jury) -> Contest:
    real = jury.test_seen.features
    floor = kernel_distance(jury.train_seen.features, real).mean / KERNEL_UNIT
    ours, theirs = (kernel_resampled(each.features, real, which=i) for i, each in enumerate((first, second), start=1))
    return Contest(f"10⁻³ KID-{jury.judge.code}", ours, theirs, f"{_protocol(first, jury)}: {floor:.4g}")


def _protocol(rival: Rival, jury: Jury) -> str:
    count = f"{len(rival.features):,} samples each against {len(jury.test):,} test images of {jury.data.name}"
    return f"{jury.judge.features_in_words}; {count}; as many training images"


def _incomparable(first: Subject, second: Subject) -> str:
    """Why the densities of two versions are not of the same thing; empty where they are."""
    for subject in (first, second):
        if "image_to_evidence" not in subject.graphs.sessions:
            return f"{subject.manifest.name} has no density"
        if "image_to_evidence" in subject.manifest.conditional_roles:
            return f"{subject.manifest.name} has a density of pictures whose label is given"
    scored = [
        (subject.manifest.likelihood and subject.manifest.likelihood.nats_of, pixels_in_words(subject.config))
        for subject in (first, second)
    ]
    return "" if scored[0] == scored[1] else f"they are of {' and of '.join(f'{of}, {how}' for of, how in scored)}"


def _nats(first: Subject, second: Subject, scored: int, samples: int) -> Contest:
    """−log p(x), image by image on the same ones."""
    test = first.test_images(scored)
    counts = resample_counts(len(test), RESAMPLES, which=0)
    ours, theirs = (
        np.array([-bound.importance_weighted_nats for bound in subject.bounds(test, samples)])
        for subject in (first, second)
    )
    found = [Resampled(float(nats.mean()), counts @ nats / len(nats)) for nats in (ours, theirs)]
    words = f"{images_in_words(test, first.data)}, {pixels_in_words(first.config)}"
    return Contest(
        "−log p(x), nats per image, at most", found[0], found[1], f"importance-weighted bound, K = {samples}; {words}"
    )
