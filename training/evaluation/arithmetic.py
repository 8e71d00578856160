"""Latent arithmetic with ground truth: a − b + c of Radford et al. 2016 (section 6.3.2), on pictures with attributes.

A trial asks for a test picture that the model has not seen: one motif with one value of an attribute. Given are c, its
twin with another value, and exemplars of both values, three each, which are averaged: a with the wanted value, b with
c's. In `pairs` a and b show the same three motifs; in `independent` they are six, as in the paper. The answer is right
where, of all pictures of the set, c and the exemplars included, the nearest to the decoded sum is the one asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from jaxtyping import Float32, Float64, Int64

from training.config import ConfigError
from training.data.draws import Purpose, bit_generator
from training.data.splits import DataSplits, ImageSet
from training.evaluation.resampling import Interval, resample_counts

EXEMPLARS = 3
ROUNDS = 5
"""Draws of c and of the exemplars for every test picture."""
RESAMPLES = 2000
DISTANCES_AT_ONCE = 128

Exemplars = Literal["pairs", "independent"]
Rows = Float32[np.ndarray, "n d"]
Indices = Int64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Trials:
    """What is asked, as indices into all pictures: a row a trial."""

    target: Indices
    query: Indices
    plus: Int64[np.ndarray, "n exemplars"]
    minus: Int64[np.ndarray, "n exemplars"]


@dataclass(frozen=True, eq=False)
class Gallery:
    """All pictures of a data set, the training pictures first and the test pictures last."""

    images: ImageSet
    attributes: Int64[np.ndarray, "n a"]
    names: tuple[str, ...]
    motif: int
    """The attribute of most values: what a picture is of."""
    train: int
    test: int

    @classmethod
    def of(cls, data: DataSplits) -> Gallery:
        """Raises ConfigError where the pictures have fewer than two attributes: nothing would be ground truth."""
        parts = (data.train, data.validation, data.test)
        attributes = [part.attributes for part in parts if part.attributes is not None]
        if len(attributes) < len(parts) or len(data.attributes) < 2:
            raise ConfigError(f"arithmetic with ground truth needs pictures with attributes; {data.name} has none")
        labels = [part.labels for part in parts if part.labels is not None]
        joined = ImageSet(
            np.concatenate([part.pictures for part in parts]),
            np.concatenate(labels) if len(labels) == len(parts) else None,
        )
        names, sizes = zip(*((attribute.name, len(attribute.values)) for attribute in data.attributes), strict=True)
        motif = int(np.argmax(sizes))
        return cls(joined, np.concatenate(attributes), names, motif, len(data.train), len(data.test))

    @property
    def flat(self) -> Rows:
        """The pixels (N, H·W·C) in [0, 1]."""
        return self.images.pictures.reshape(len(self.images), -1).astype(np.float32) / 255

    @property
    def changes(self) -> tuple[tuple[int, ...], ...]:
        """What trials may change: each attribute but the motif, and, where there are several, all of them at once."""
        single = [(place,) for place in range(len(self.names)) if place != self.motif]
        return (*single, tuple(place for (place,) in single)) if len(single) > 1 else tuple(single)


def draw_trials(
    gallery: Gallery, changed: tuple[int, ...], *, exemplars: Exemplars = "pairs", rounds: int = ROUNDS
) -> Trials:
    """`rounds` trials for every test picture with a training picture that differs from it in just these attributes.

    ConfigError where there is none, or there are too few exemplars.
    """
    generator = np.random.Generator(bit_generator(0, Purpose.ARITHMETIC, index=sum(2**place for place in changed)))
    twins = _Twins(gallery, changed)
    rows = [
        (target, *found)
        for target in range(len(gallery.images) - gallery.test, len(gallery.images))
        for _ in range(rounds if gallery.attributes[target].min() >= 0 else 0)
        if (found := twins.draw(gallery.attributes[target], exemplars, generator)) is not None
    ]
    if not rows:
        raise ConfigError("no test picture has a training picture that differs in these attributes alone")
    target, query, plus, minus = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Trials(target, query, plus, minus)


class _Twins:
    """Training pictures by all attributes that stay, then by the values of those that change."""

    def __init__(self, gallery: Gallery, changed: tuple[int, ...]) -> None:
        self._changed, self._motif = changed, gallery.motif
        self._stay = tuple(place for place in range(len(gallery.names)) if place not in changed)
        self._pictures: dict[tuple[int, ...], dict[tuple[int, ...], int]] = defaultdict(dict)
        for index, values in enumerate(gallery.attributes[: gallery.train]):
            if values.min() >= 0:
                self._pictures[self._part(values, self._stay)][self._part(values, changed)] = index

    def draw(
        self, values: Int64[np.ndarray, " a"], exemplars: Exemplars, generator: np.random.Generator
    ) -> tuple[int, list[int], list[int]] | None:
        """c, then the exemplars of the wanted and of c's values; None where there are none."""
        wanted = self._part(values, self._changed)
        own = self._pictures.get(self._part(values, self._stay), {})
        others = sorted(value for value in own if all(a != b for a, b in zip(value, wanted, strict=True)))
        if not others:
            return None
        given = others[int(generator.integers(len(others)))]
        at = self._stay.index(self._motif)
        pairs = [
            (pictures[wanted], pictures[given])
            for stay, pictures in self._pictures.items()
            if stay[at] != values[self._motif] and wanted in pictures and given in pictures
        ]
        needed = EXEMPLARS if exemplars == "pairs" else 2 * EXEMPLARS
        if len(pairs) < needed:
            return None
        chosen = [pairs[place] for place in generator.choice(len(pairs), needed, replace=False)]
        return own[given], [plus for plus, _ in chosen[:EXEMPLARS]], [minus for _, minus in chosen[-EXEMPLARS:]]

    @staticmethod
    def _part(values: Int64[np.ndarray, " a"], places: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(values[place]) for place in places)


def answers(trials: Trials, codes: Rows) -> Rows:
    """a − b + c of each trial: means of exemplars, then the sum."""
    return cast(Rows, codes[trials.plus].mean(axis=1) - codes[trials.minus].mean(axis=1) + codes[trials.query])


def nearest(found: Rows, gallery: Rows) -> Indices:
    """The row of `gallery` (M, D) at the smallest Euclidean distance from each of `found` (N, D).

    In double precision: in single, sums of pixels that are about as far from two pictures are nearest to either, as the
    order of additions has it.
    """
    rows = gallery.astype(np.float64)
    squares = np.square(rows).sum(axis=1)
    parts = [
        (squares - 2 * (found[start : start + DISTANCES_AT_ONCE].astype(np.float64) @ rows.T)).argmin(axis=1)
        for start in range(0, len(found), DISTANCES_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one way to add pictures found, by trial."""

    right: Float64[np.ndarray, " n"]
    unchanged: Float64[np.ndarray, " n"]
    """Where the nearest picture was c itself."""

    @classmethod
    def of(cls, gallery: Gallery, trials: Trials, found: Indices) -> Outcome:
        """Pictures of the same pixels count as the same: some emoji are drawn alike for two genders."""
        pixels = gallery.images.pictures
        same = [(pixels[found] == pixels[wanted]).all(axis=(1, 2, 3)) for wanted in (trials.target, trials.query)]
        return cls(*(hits.astype(np.float64) for hits in same))


def outcomes(
    gallery: Gallery, trials: Trials, codes: Rows, decode: Callable[[Rows, Indices], Rows]
) -> dict[str, Outcome]:
    """The latent sums, and what is set beside them, by name.

    `pixels`: the same sums of pixels. `query`: c alone, decoded in the class that is asked for, which is all that a
    label can do. `reconstruction`: the target itself, encoded and decoded, which no sum can exceed. `decode` takes
    latents and the indices of the pictures whose classes they are to have, and gives pixels in [0, 1].
    """
    flat = gallery.flat
    sums = {
        "latent": decode(answers(trials, codes), trials.target),
        "pixels": np.clip(answers(trials, flat), 0, 1),
        "query": decode(codes[trials.query], trials.target),
        "reconstruction": decode(codes[trials.target], trials.target),
    }
    return {name: Outcome.of(gallery, trials, nearest(found, flat)) for name, found in sums.items()}


def accuracy(trials: Trials, outcome: Outcome) -> Interval:
    """The share of right answers, with a bootstrap interval over test pictures: trials of one are not independent."""
    right, count = _by_target(trials, outcome.right)
    counts = resample_counts(len(right), RESAMPLES, which=0)
    return Interval.basic(float(right.sum() / count.sum()), (counts @ right) / (counts @ count))


def ratio(trials: Trials, latent: Outcome, pixels: Outcome) -> Interval:
    """How many times as often latent sums are right as pixel sums; infinite where pixel sums never are.

    The interval is that of the percentiles: a ratio's resamples are skewed, and those of an infinite one too.
    """
    (hits, _), (misses, _) = _by_target(trials, latent.right), _by_target(trials, pixels.right)
    counts = resample_counts(len(hits), RESAMPLES, which=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = (counts @ hits) / (counts @ misses)
        estimate = float(np.divide(hits.sum(), misses.sum()))
    low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
    return Interval(estimate, float(low), float(high))


def chance(gallery: Gallery, trials: Trials) -> float:
    """How often a picture drawn at random would be right."""
    pixels = gallery.images.pictures
    targets = np.unique(trials.target)
    alike = [float((pixels == pixels[target]).all(axis=(1, 2, 3)).mean()) for target in targets]
    return float(np.mean(alike))


def _by_target(trials: Trials, hits: Float64[np.ndarray, " n"]) -> tuple[Float64[np.ndarray, " m"], ...]:
    """The right answers, and the trials, of each test picture."""
    _, place = np.unique(trials.target, return_inverse=True)
    return np.bincount(place, hits), np.bincount(place).astype(np.float64)
