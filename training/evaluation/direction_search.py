"""The named directions of a version: made on training pictures, chosen on validation places, measured on test places.

Where a version encodes, codes are those of pictures, whose attributes are known. Where it only draws, they are samples
of its prior, and what a sample shows is decided by the judge (Shen et al. 2020, section 3.1).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64, Int64

from app.directions import Direction, DirectionKind, Directions
from app.manifest import Manifest, Tensor
from training.data.few_labels import labelled
from training.data.splits import HIDDEN, DataSplits, ImageSet
from training.evaluation.attribute_judge import AttributeJudge, attribute_values, known_attributes
from training.evaluation.direction_effects import Decode, Effects, Latents, measure_effects
from training.evaluation.directions import (
    adjusted_differences,
    factorised_directions,
    mean_difference,
    orthogonalised,
    principal_directions,
)
from training.evaluation.protocol import SEED
from training.evaluation.published import PublishedGraphs, subset

CODES, PLACES = 5000, 100
"""Pictures or samples that directions are made from, at most, and places where their effects are measured."""
UNSUPERVISED = 5
"""Principal components, and factors of the first layer."""
UNIT = "standard deviations of the attribute's decision on real pictures, a step"
STEP_MEANS = "one step is the difference between the two"
STEP_SPREAD = "one step is a standard deviation of codes along it"

Vector = Float64[np.ndarray, " d"]
Weight = Float64[np.ndarray, "features d"]


@dataclass(frozen=True, eq=False)
class Coded:
    """Latents of one split with what their pictures show, and the classes that they are to be decoded as."""

    codes: Latents
    values: Int64[np.ndarray, "n a"]
    """Of the judge's attributes, then of all others that are known; −1 where one is not told."""
    labels: Int64[np.ndarray, " n"] | None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A displacement that may become a direction."""

    method: str
    vector: Vector


def find_directions(
    graphs: PublishedGraphs, manifest: Manifest, data: DataSplits, weight: Weight | None
) -> Directions | None:
    """All directions with their effects; None where a version makes no pictures of latents, or none could be found.

    `weight` is that of the decoder's first layer on latents, where it has one.
    """
    if "latent_to_image" not in manifest.roles:
        return None
    judge = AttributeJudge.trained(data)
    train, validation, test = _coded(graphs, manifest, data, judge)
    search = _Search(graphs, judge, train, validation, test)
    named = [*search.supervised(_told(manifest, data)), *search.unsupervised(weight)]
    if not named:
        return None
    rows = np.stack([vector for _, vector in named]).astype("<f4")
    vectors = Tensor(dtype="float32", shape=rows.shape, base64=base64.b64encode(rows.tobytes()).decode())
    directions = tuple(direction for direction, _ in named)
    return Directions(directions=directions, vectors=vectors, protocol=_protocol(judge, data, search))


@dataclass(frozen=True, eq=False)
class _Search:
    graphs: PublishedGraphs
    judge: AttributeJudge | None
    train: Coded
    choosing: Coded
    reporting: Coded

    def supervised(self, told: frozenset[str]) -> Iterator[tuple[Direction, Vector]]:
        """A direction for each contrast of attributes that the decoder is not told."""
        contrasts = self.judge.contrasts if self.judge else ()
        for index, contrast in enumerate(contrasts):
            if contrast.attribute in told:
                continue
            if not (candidates := self._candidates(index)):
                continue
            found = self._effects(self.choosing, [candidate.vector for candidate in candidates])
            best = candidates[_most_selective(found, index)]
            (effects,) = self._effects(self.reporting, [best.vector])
            said = f"{best.method}; {STEP_MEANS}"
            yield _described(contrast.name, "supervised", said, effects, index), best.vector

    def unsupervised(self, weight: Weight | None) -> Iterator[tuple[Direction, Vector]]:
        """Principal components, and factors of the first layer; each turned so that it adds what it moves most."""
        codes = self.train.codes.astype(np.float64)
        yield from self._turned("pca", "principal_component", principal_directions(codes, UNSUPERVISED))
        if weight is not None:
            yield from self._turned("sefa", "factorised", factorised_directions(weight, codes, UNSUPERVISED))

    def _turned(
        self, family: str, kind: DirectionKind, vectors: Float64[np.ndarray, "k d"]
    ) -> Iterator[tuple[Direction, Vector]]:
        """What each moves most, and which way, is seen on other places than those its effect is reported on.

        The largest of many noisy numbers is large even where all are zero; on places of its own it is what it is, which
        may be nothing, or negative.
        """
        method = "principal component of codes" if kind == "principal_component" else "SeFa: first layer's weights"
        said = f"{method}; {STEP_SPREAD}"
        names = [f"{family}-{number}" for number in range(1, len(vectors) + 1)]
        if self.judge is None:
            for name, vector in zip(names, vectors, strict=True):
                yield Direction(name=name, kind=kind, method=said), vector
            return
        seen = self._effects(self.choosing, list(vectors))
        turned = [vector * effects.sign_of_strongest for vector, effects in zip(vectors, seen, strict=True)]
        found = self._effects(self.reporting, turned)
        for name, vector, chosen, effects in zip(names, turned, seen, found, strict=True):
            yield _described(name, kind, said, effects, chosen.strongest), vector

    def _candidates(self, index: int) -> list[Candidate]:
        assert self.judge is not None
        contrast, codes, values = self.judge.contrasts[index], self.train.codes.astype(np.float64), self.train.values
        column = self.judge.attributes.index(contrast.attribute)
        known = values[:, column] >= 0
        has = values[known, column] == contrast.value
        if not 0 < has.sum() < len(has):
            return []
        found = [Candidate("difference of mean codes", mean_difference(codes[known], has))]
        adjusted = [adjusted_differences(codes, values, place) for place in range(len(self.judge.attributes))]
        own = adjusted[column].get(contrast.value)
        if own is not None and values.shape[1] > 1:
            others = [vector for place, those in enumerate(adjusted) if place != column for vector in those.values()]
            found.append(Candidate("difference of mean codes, all other attributes being equal", own))
            found.append(Candidate("the same, at right angles to other attributes", orthogonalised(own, others)))
        return found

    def _effects(self, places: Coded, vectors: list[Vector]) -> list[Effects]:
        assert self.judge is not None
        return measure_effects(self.judge, _decoder(self.graphs, places), places.codes, vectors)


def _decoder(graphs: PublishedGraphs, places: Coded) -> Decode:
    return partial(graphs.decode, labels=places.labels)


def _most_selective(found: list[Effects], index: int) -> int:
    """The candidate of which least leaks, among those at least half as strong as the strongest."""
    strengths = [float(effects.mean[index]) for effects in found]
    strong = [2 * strength >= max(strengths) for strength in strengths]
    return int(np.argmax([e.selectivity(index) if fits else -1.0 for e, fits in zip(found, strong, strict=True)]))


def _described(name: str, kind: DirectionKind, method: str, effects: Effects, index: int) -> Direction:
    leakage, into = effects.leak(index)
    return Direction(
        name=name,
        kind=kind,
        method=method,
        attribute=effects.contrasts[index].name,
        effect=round(float(effects.mean[index]), 4),
        effect_standard_error=round(float(effects.standard_error[index]), 4),
        leakage=round(leakage, 4),
        leaks_into=into,
        unit=UNIT,
    )


def _coded(
    graphs: PublishedGraphs, manifest: Manifest, data: DataSplits, judge: AttributeJudge | None
) -> tuple[Coded, Coded, Coded]:
    train_images = subset(data.train, CODES)
    if manifest.conditional_roles and train_images.labels is not None:
        train_images = labelled(train_images)
    parts = (train_images, subset(data.validation, PLACES), subset(data.test, PLACES))
    if "image_to_latent" in manifest.roles:
        codes = [graphs.posterior(part.pictures, part.labels)["mean"] for part in parts]
        train, validation, test = (
            Coded(of, _values(data, part, judge), part.labels) for of, part in zip(codes, parts, strict=True)
        )
        return train, validation, test
    train, validation, test = (_drawn(graphs, manifest, data, part, judge, which) for which, part in enumerate(parts))
    return train, validation, test


def _drawn(
    graphs: PublishedGraphs,
    manifest: Manifest,
    data: DataSplits,
    part: ImageSet,
    judge: AttributeJudge | None,
    which: int,
) -> Coded:
    """As many samples of the prior, in the classes of these pictures, and what the judge sees in them."""
    first = which * 2 * CODES
    size, labels = manifest.latent.size, _classes_of(manifest, data, part)
    latents = graphs.prior_latents(len(part), latent_size=size, seed=SEED, labels=labels, first_index=first)
    values = judge.values(graphs.decode(latents, labels)) if judge else np.zeros((len(part), 0), np.int64)
    return Coded(latents, values, labels)


def _classes_of(manifest: Manifest, data: DataSplits, part: ImageSet) -> Int64[np.ndarray, " n"] | None:
    """The pictures' classes, or, where a model's own classes are others, each of these in turn."""
    if not manifest.conditional_roles or manifest.classes == data.classes:
        return part.labels
    return np.arange(len(part)) % len(manifest.classes)


def _values(data: DataSplits, images: ImageSet, judge: AttributeJudge | None) -> Int64[np.ndarray, "n a"]:
    values, first = attribute_values(data, images), list(judge.columns) if judge else []
    return values[:, [*first, *(place for place in range(values.shape[1]) if place not in first)]]


def _told(manifest: Manifest, data: DataSplits) -> frozenset[str]:
    """The attributes that the class says, where the decoder is told the class: no latent is to say them again."""
    if "latent_to_image" not in manifest.conditional_roles or manifest.classes != data.classes:
        return frozenset()
    values = attribute_values(data, data.train)
    labels = data.train.labels
    by_class = [] if labels is None else [values[labels == label] for label in np.unique(labels) if label != HIDDEN]
    constant = np.all([(rows == rows[0]).all(axis=0) for rows in by_class], axis=0)
    return frozenset(a.name for a, told in zip(known_attributes(data), constant, strict=True) if told)


def _protocol(judge: AttributeJudge | None, data: DataSplits, search: _Search) -> str:
    if judge is None:
        return f"nothing is known of pictures of {data.name}: effects are not measured"
    known = ", ".join(
        f"{name} {100 * right:.1f} %" for name, right in zip(judge.attributes, judge.accuracy, strict=True)
    )
    return (
        f"half the difference of a logistic regression's log odds between a step forward and a step back from "
        f"{len(search.reporting.codes)} places, in standard deviations of those of real validation pictures; it reads "
        f"pixels and colours and was trained on real pictures (right on test pictures: {known}); leakage is the "
        "largest change of any other attribute, or the largest rise of another value of the same one; what pca and "
        f"sefa directions move most, and which way, was seen on {len(search.choosing.codes)} other places"
    )
