"""The likelihood of a set of images, measured from the published graph: what is served is what is measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from app.density.bounds import Bounds, bounds
from app.latent.noise import Stream, standard_normal
from app.manifest import LABEL
from app.runtime.session import GraphSession
from training.data.progress import progress

SAMPLES_AT_ONCE = 500
"""Importance samples in one run of the graph: enough to keep it busy, few enough to stay in the caches."""


@dataclass(frozen=True)
class Average:
    """A mean over images with the standard error that comes from having only so many of them."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Average:
        """The average of one number an image."""
        numbers = np.fromiter(values, dtype=np.float64)
        spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        return cls(float(numbers.mean()), spread / math.sqrt(len(numbers)))


def image_bounds(
    evidence: GraphSession,
    image: Float32[np.ndarray, "c h w"],
    *,
    samples: int,
    seed: int,
    index: int,
    label: int | None = None,
) -> Bounds:
    """The bounds of one image with K = `samples` draws, as `/score` computes them for image `index` of a request.

    Of a conditional model they are on log p(x|y) and need the `label`; others leave it alone.
    """
    size = evidence.signature.inputs[1].shape[-1]
    if not isinstance(size, int):
        raise ValueError(f"{evidence.signature.file} does not state the size of its noise")
    noise = standard_normal(seed, [index], samples * size, stream=Stream.IMPORTANCE).reshape(samples, size)
    told = {LABEL: np.array([label], np.int64)} if evidence.signature.takes_label else {}
    runs = [
        evidence.run({"image": image[None], "noise": part[None], **told})
        for part in np.array_split(noise, math.ceil(samples / SAMPLES_AT_ONCE))
    ]
    terms = {name: np.concatenate([run[name][0] for run in runs]) for name in runs[0]}
    return bounds(terms["log_likelihood"], terms["log_prior"], terms["log_posterior"])


def set_bounds(
    evidence: GraphSession,
    images: Float32[np.ndarray, "n c h w"],
    *,
    samples: int,
    seed: int,
    labels: Int64[np.ndarray, " n"] | None = None,
) -> list[Bounds]:
    """`image_bounds` of every image of a set, in order."""
    numbered = progress(enumerate(images), total=len(images), doing=f"scoring, K = {samples}")
    told = [None] * len(images) if labels is None else labels.tolist()
    return [
        image_bounds(evidence, image, samples=samples, seed=seed, index=index, label=told[index])
        for index, image in numbered
    ]


def joint_bounds(
    evidence: GraphSession, images: Float32[np.ndarray, "n c h w"], *, classes: int, samples: int, seed: int
) -> Float64[np.ndarray, "n classes"]:
    """The importance-weighted bound on log p(x|y) of every image under every label, `samples` draws a label."""
    found = [
        set_bounds(evidence, images, samples=samples, seed=seed, labels=np.full(len(images), label))
        for label in range(classes)
    ]
    return np.array([[bound.importance_weighted_nats for bound in bounds] for bounds in found]).T
