"""Linear probes: how well a straight line tells the classes apart on a model's codes, on pixels, on their PCA.

Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes". A probe is a logistic
regression with an l2 penalty, whose strength is chosen by cross-validation within the labelled pictures: no other label
is looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from training.config import ConfigError
from training.data.few_labels import balanced_choice
from training.data.splits import DataSplits
from training.evaluation.published import PublishedGraphs

Features = Float32[np.ndarray, "n d"]
Labels = Int64[np.ndarray, " n"]

INVERSE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""scikit-learn's C, of features whose squared length is 1 a dimension on average."""
CHOSEN_ON = 1000
"""Labelled pictures at most that the penalty is chosen on: with more, it hardly matters."""
FOLDS = 5
STEPS = 300
PROBED_LABELS: tuple[int | None, ...] = (100, 1000, None)
PROBE_DRAWS = 5
PROBE_PROTOCOL = (
    f"test error of a logistic regression; ± is the standard deviation over {PROBE_DRAWS} balanced draws of labels; "
    "representations are centred and scaled as a whole; the penalty is chosen by cross-validation among the labelled "
    "pictures; the unlabelled ones were seen by the model and by PCA"
)


@dataclass(frozen=True)
class Represented:
    """One way to write the same pictures as numbers, for training and for test pictures."""

    train: Features
    test: Features

    @classmethod
    def scaled(cls, train: Features, test: Features) -> Represented:
        """Centred, and divided by one number for all dimensions: what a model made small stays small."""
        centre = train.mean(axis=0)
        scale = float(np.sqrt(np.square(train - centre).mean())) or 1.0
        return cls(((train - centre) / scale).astype(np.float32), ((test - centre) / scale).astype(np.float32))


@dataclass(frozen=True)
class Probed:
    """The test error of probes, one number a draw of labels, in percent."""

    labels: int
    errors_percent: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.errors_percent))

    @property
    def spread(self) -> float | None:
        """The standard deviation over the draws; None where there was one."""
        return float(np.std(self.errors_percent, ddof=1)) if len(self.errors_percent) > 1 else None


def probe_report(graphs: PublishedGraphs, data: DataSplits) -> str:
    """A version's codes beside principal components and pixels, with its protocol."""
    found = probe_all(representations(graphs, data), data, counts=PROBED_LABELS, draws=PROBE_DRAWS)
    return f"{probe_table(found)}\n\n{PROBE_PROTOCOL}"


def representations(graphs: PublishedGraphs, data: DataSplits) -> dict[str, Represented]:
    """A version's codes (posterior means), as many principal components, and the pixels. Raises ConfigError where the
    version has no codes, or its encoder is told the labels that a probe is to find.
    """
    encoder = graphs.sessions.get("image_to_latent")
    if encoder is None:
        raise ConfigError("there are no codes to probe: this version has no encoder (image_to_latent)")
    if encoder.signature.takes_label:
        raise ConfigError(
            "the encoder of this version is told the label: a probe of its codes would find what it was told"
        )
    codes = Represented.scaled(*(graphs.posterior(part.pictures)["mean"] for part in (data.train, data.test)))
    pixels = Represented.scaled(*(_flat(part.pictures) for part in (data.train, data.test)))
    size = codes.train.shape[1]
    components = principal_components(pixels.train, pixels.test, size)
    return {
        f"codes ({size})": codes,
        f"PCA ({components.train.shape[1]})": components,
        f"pixels ({pixels.train.shape[1]})": pixels,
    }


def principal_components(train: Features, test: Features, size: int) -> Represented:
    """The first `size` principal components of the training pictures, of both: PCA is told no labels."""
    pca = PCA(min(size, *train.shape), svd_solver="covariance_eigh").fit(train)
    return Represented.scaled(pca.transform(train), pca.transform(test))


def fit_probe(features: Features, labels: Labels, *, seed: int = 0) -> LogisticRegression:
    """The logistic regression of these pictures, its penalty chosen by cross-validation among them."""
    few = slice(None) if len(labels) <= CHOSEN_ON else balanced_choice(labels, CHOSEN_ON, seed=seed)
    scores = [_held_out_score(features[few], labels[few], penalty, seed) for penalty in INVERSE_PENALTIES]
    return _fit(features, labels, INVERSE_PENALTIES[int(np.argmax(scores))])


def probe(
    represented: Represented, train_labels: Labels, test_labels: Labels, *, count: int | None, draws: int
) -> Probed:
    """The test error with `count` labels of a balanced draw, for seeds 0 … draws − 1; None takes every label, once."""
    errors = []
    for seed in range(draws if count is not None else 1):
        chosen = slice(None) if count is None else balanced_choice(train_labels, count, seed=seed)
        model = fit_probe(represented.train[chosen], train_labels[chosen], seed=seed)
        errors.append(100 * float(np.mean(model.predict(represented.test) != test_labels)))
    return Probed(len(train_labels) if count is None else count, tuple(errors))


def probe_all(
    represented: Mapping[str, Represented], data: DataSplits, *, counts: Sequence[int | None], draws: int
) -> dict[str, list[Probed]]:
    """Every representation probed with the same draws of labels. ConfigError where there are no classes."""
    train_labels, test_labels = data.train.labels, data.test.labels
    if train_labels is None or test_labels is None:
        raise ConfigError(f"a probe needs classes, and {data.name} has none")
    fitting = [count for count in counts if count is None or count < len(train_labels)]
    return {
        name: [probe(found, train_labels, test_labels, count=count, draws=draws) for count in fitting]
        for name, found in represented.items()
    }


def probe_table(found: Mapping[str, Sequence[Probed]]) -> str:
    """The test errors as Markdown: a row a number of labels, a column a representation."""
    names = list(found)
    lines = [f"| labels | {' | '.join(names)} |", f"| ---: |{' ---: |' * len(names)}"]
    for row in zip(*found.values(), strict=True):
        lines.append(f"| {row[0].labels:,} | {' | '.join(_percent(probed) for probed in row)} |")
    return "\n".join(lines)


def _percent(probed: Probed) -> str:
    spread = "" if probed.spread is None else f" ± {probed.spread:.2f}"
    return f"{probed.mean:.2f}{spread} %"


def _flat(pictures: UInt8[np.ndarray, "n h w c"]) -> Features:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def _fit(features: Features, labels: Labels, inverse_penalty: float) -> LogisticRegression:
    model = LogisticRegression(C=inverse_penalty, max_iter=STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights do not move the error
        return model.fit(features, labels)


def _held_out_score(features: Features, labels: Labels, inverse_penalty: float, seed: int) -> float:
    """The accuracy on pictures that were left out, averaged over the folds; 0 where a class has a single picture."""
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    if fewest < 2:
        return 0.0
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    right = []
    for kept, left_out in folds.split(features, labels):
        model = _fit(features[kept], labels[kept], inverse_penalty)
        right.append(model.score(features[left_out], labels[left_out]))
    return float(np.mean(right))
