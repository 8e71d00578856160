"""A judge of attributes that knows nothing of any model: logistic regressions on pixels and colours of real pictures.

Where a picture's attributes are decided by how it was made, its decision in log odds says how far it looks it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from training.data.splits import HIDDEN, Attribute, DataSplits, ImageSet
from training.evaluation.published import subset

MOST_VALUES = 30
"""Attributes with more are names rather than properties: nothing is learned of them."""
COMPONENTS, COLOUR_STEPS, COLOUR_WEIGHT = 100, 6, 5.0
"""Principal components of the pixels, and what a histogram of colours counts beside them."""
TRAINED_ON = 5000
STEPS = 500

Pictures = UInt8[np.ndarray, "n h w c"]
Decisions = Float64[np.ndarray, "n contrasts"]
Values = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Contrast:
    """One value of an attribute against its others."""

    attribute: str
    value: int
    name: str
    """`skin_tone=dark`, in letters that a direction's name may have."""


def known_attributes(data: DataSplits) -> tuple[Attribute, ...]:
    """What is known of the pictures: their attributes, else their classes."""
    return data.attributes or ((Attribute("class", data.classes),) if data.classes else ())


def attribute_values(data: DataSplits, images: ImageSet) -> Int64[np.ndarray, "n a"]:
    """The value of each known attribute of each of the data's pictures, −1 where it is not told."""
    if images.attributes is not None:
        return images.attributes
    labels = np.full(len(images), HIDDEN) if images.labels is None else images.labels
    return labels[:, None].astype(np.int64)


def _judged(data: DataSplits, values: Int64[np.ndarray, "n a"]) -> list[int]:
    """The columns of attributes that have few values, of which two or more are told."""
    present = [len(np.unique(column[column >= 0])) for column in values.T]
    few = [2 <= len(attribute.values) <= MOST_VALUES for attribute in known_attributes(data)]
    return [place for place, (fits, count) in enumerate(zip(few, present, strict=False)) if fits and count > 1]


@dataclass(frozen=True)
class AttributeJudge:
    """Decides for every contrast of a data set, in standard deviations of its decisions on real pictures."""

    attributes: tuple[str, ...]
    columns: tuple[int, ...]
    """Where these stand among all that is known."""
    contrasts: tuple[Contrast, ...]
    reader: _Reader
    models: tuple[LogisticRegression, ...]
    centre: Float64[np.ndarray, " contrasts"]
    spread: Float64[np.ndarray, " contrasts"]
    accuracy: tuple[float, ...]
    """Of each attribute, on test pictures."""

    @classmethod
    def trained(cls, data: DataSplits) -> AttributeJudge | None:
        """Trained on training pictures, its scale taken from validation pictures; None where nothing is known."""
        attributes, train = known_attributes(data), subset(data.train, TRAINED_ON)
        values = attribute_values(data, train)
        if not (kept := _judged(data, values)):
            return None
        reader = _Reader.of(train.pictures)
        models = tuple(_fit(reader.read(train.pictures), values[:, place]) for place in kept)
        contrasts = tuple(
            contrast
            for place, model in zip(kept, models, strict=True)
            for contrast in contrasts_of(attributes[place], model.classes_)
        )
        held_out = _decide(reader.read(data.validation.pictures), models, contrasts)
        scores = tuple(
            float(
                np.mean(model.predict(reader.read(data.test.pictures)) == attribute_values(data, data.test)[:, place])
            )
            for place, model in zip(kept, models, strict=True)
        )
        names = tuple(attributes[place].name for place in kept)
        return cls(
            names, tuple(kept), contrasts, reader, models, held_out.mean(axis=0), held_out.std(axis=0) + 1e-9, scores
        )

    def decide(self, pictures: Pictures) -> Decisions:
        """Log odds of each contrast, centred and scaled as those of real pictures are."""
        found = _decide(self.reader.read(pictures), self.models, self.contrasts)
        return cast(Decisions, (found - self.centre) / self.spread)

    def values(self, pictures: Pictures) -> Int64[np.ndarray, "n a"]:
        """What each picture most likely shows of each attribute."""
        read = self.reader.read(pictures)
        return np.stack([model.predict(read) for model in self.models], axis=1).astype(np.int64)


def contrasts_of(attribute: Attribute, present: Sequence[int] | Values) -> list[Contrast]:
    """A contrast for each value that occurs; one alone where there are two, which are each other's opposites."""
    values = [int(value) for value in present]
    names = [f"{attribute.name}={attribute.values[value]}" for value in values]
    found = [Contrast(attribute.name, value, _plain(name)) for value, name in zip(values, names, strict=True)]
    return found[1:] if len(found) == 2 else found


@dataclass(frozen=True)
class _Reader:
    """Pictures as numbers: principal components of the pixels, in units of their spread, and counts of colours."""

    pca: PCA
    scale: float

    @classmethod
    def of(cls, pictures: Pictures) -> _Reader:
        flat = _flat(pictures)
        pca = PCA(min(COMPONENTS, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
        return cls(pca, float(pca.transform(flat).std()) or 1.0)

    def read(self, pictures: Pictures) -> Float64[np.ndarray, "n f"]:
        """The components, and the square roots of the shares of each coarse colour."""
        components = self.pca.transform(_flat(pictures)) / self.scale
        return np.hstack([components, COLOUR_WEIGHT * np.sqrt(_colour_shares(pictures))])


def _colour_shares(pictures: Pictures) -> Float64[np.ndarray, "n colours"]:
    channels, pixels = pictures.shape[-1], pictures.shape[1] * pictures.shape[2]
    coarse = (pictures.astype(np.int64) * COLOUR_STEPS) // 256  # (N, H, W, C)
    number = coarse @ COLOUR_STEPS ** np.arange(channels)
    counts = [np.bincount(row.ravel(), minlength=COLOUR_STEPS**channels) for row in number]
    return cast(Float64[np.ndarray, "n colours"], np.stack(counts) / pixels)


def _fit(features: Float64[np.ndarray, "n f"], values: Values) -> LogisticRegression:
    model, told = LogisticRegression(C=1.0, max_iter=STEPS), values >= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights do not move decisions
        return model.fit(features[told], values[told])


def _decide(
    features: Float64[np.ndarray, "n f"], models: Sequence[LogisticRegression], contrasts: Sequence[Contrast]
) -> Decisions:
    """log P(value) − log P(any other) of each contrast."""
    scores = []
    for model in models:
        logits = np.atleast_2d(model.decision_function(features).T).T
        scores.append(np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits)
    columns, names = [], list(dict.fromkeys(contrast.attribute for contrast in contrasts))
    for contrast in contrasts:
        place = names.index(contrast.attribute)
        at = int(np.flatnonzero(models[place].classes_ == contrast.value)[0])
        columns.append(scores[place][:, at] - np.logaddexp.reduce(np.delete(scores[place], at, axis=1), axis=1))
    return np.stack(columns, axis=1)


def _flat(pictures: Pictures) -> Float32[np.ndarray, "n d"]:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def _plain(name: str) -> str:
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.=-") else "-" for letter in name)
    return kept.lower().lstrip("_.=-")[:64] or "unnamed"
