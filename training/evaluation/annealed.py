"""A published version as annealing needs it: its joint density, its prior, and images that it draws itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float32

from app.density.annealing import Annealed, Annealing, Noise, Sandwich, anneal, anneal_back
from app.density.hamiltonian import EXTRA_NUMBERS, Array, Doubles, Joint, JointTerms
from app.latent.noise import Stream, normal_quantile, standard_normal
from app.manifest import LABEL, Likelihood
from training.config import ConfigError
from training.data.progress import progress
from training.evaluation.protocol import SEED
from training.evaluation.published import Labels, PublishedGraphs

ROWS_AT_ONCE = 64
"""Rows of one graph run: more only leave the caches."""
IMAGES_AT_ONCE = 8
"""Images whose chains are led side by side."""
SCALE_DRAWS = 2000
"""Draws from a learned prior that say how wide it is in each dimension."""
MOST_CHAINS, MOST_STEPS = 2**16, 2**20
"""Chains of an image and transitions of a chain are numbered within these."""
CERTAIN = 1e-12
"""A pixel's probability is kept this far from 0 and 1, where its quantile is infinite."""

Images = Float32[np.ndarray, "n c h w"]


class Simulated(NamedTuple):
    """Images that a model drew, the latent behind each, an exact draw from its posterior, and its label if it has."""

    images: Images
    latents: Float32[np.ndarray, "n d"]
    labels: Labels | None


@dataclass(frozen=True)
class AnnealedModel:
    """A version's graphs, and how its chains are led. Raises ConfigError where it lacks `latent_to_evidence`.

    Of a conditional model everything is about p(x|y), each image under its own label.
    """

    graphs: PublishedGraphs
    how: Annealing

    def __post_init__(self) -> None:
        if self.how.rows_an_image > MOST_CHAINS or self.how.temperatures > MOST_STEPS:
            raise ConfigError(f"at most {MOST_CHAINS} chains and {MOST_STEPS} temperatures can be told apart")
        if "latent_to_evidence" not in self.graphs.sessions:
            raise ConfigError(
                "annealing needs the graph latent_to_evidence: this version has no density, or was published without "
                "that graph (before it existed, or with export.gradients = false)"
            )

    @property
    def latent_size(self) -> int:
        """D."""
        latent = next(
            spec for spec in self.graphs.sessions["latent_to_evidence"].signature.inputs if spec.name == "latent"
        )
        return cast(int, latent.shape[-1])

    def estimates(self, images: Images, labels: Labels | None = None) -> list[Annealed]:
        """log p(x) of each image."""
        scale, found = self._scale(), list[Annealed]()
        for places in _blocks(len(images), "annealing"):
            joint, starts = self.joint(_take(labels, places)), self._starts(places)
            noise = self._noise(places, self.how.rows_an_image, Stream.ANNEALING)
            found += anneal(joint, images[places], starts, self.how, noise, scale=scale).estimates
        return found

    def sandwiches(self, drawn: Simulated) -> list[Sandwich]:
        """Bounds on log p(x) of each simulated image, from below and from above."""
        scale, found = self._scale(), list[Sandwich]()
        for places in _blocks(len(drawn.images), "annealing there and back"):
            joint, starts = self.joint(_take(drawn.labels, places)), self._starts(places)
            images, ends = drawn.images[places], drawn.latents[places].astype(np.float64)
            noise = self._noise(places, self.how.rows_an_image, Stream.ANNEALING)
            there = anneal(joint, images, starts, self.how, noise, scale=scale)
            noise = self._noise(places, self.how.chains, Stream.REVERSED_ANNEALING)
            back = anneal_back(joint, images, ends, self.how, noise, step_sizes=there.step_sizes, scale=scale)
            found += map(Sandwich, there.estimates, back)
        return found

    def simulate(self, count: int, likelihood: Likelihood) -> Simulated:
        """Draw x ~ p(x|z) at latents z ~ p(z): pixels and all, not the mean that samples show.

        Labels take turns. Raises ConfigError for a likelihood of which the published mean does not tell the rest.
        """
        labels = self._labels_in_turn(count)
        latents = self.graphs.latents(standard_normal(SEED, range(count), self.graphs.noise_size))
        means = self.graphs.means(latents, labels).astype(np.float64)
        numbers = standard_normal(SEED, range(count), math.prod(means.shape[1:]), stream=Stream.PIXELS)
        pixels = numbers.reshape(means.shape)
        match likelihood.kind:
            case "bernoulli":
                images = pixels < normal_quantile(np.clip(means, CERTAIN, 1 - CERTAIN) - 0.5)
            case "gaussian":
                # The scale is of pixels in [0, 1]; the images' range may be wider.
                width = self.graphs.image.pixel_range.high - self.graphs.image.pixel_range.low
                at_mean = self.joint(_take(labels, [0]))(means[:1].astype(np.float32), latents[:1].astype(np.float64))
                images = means + width * _pixel_scale(float(at_mean.log_likelihood[0]), means[0].size) * pixels
            case kind:
                raise ConfigError(f"images are simulated of Bernoulli or Gaussian pixels only, not of {kind} ones")
        return Simulated(images.astype(np.float32), latents, labels)

    def joint(self, labels: Labels | None = None) -> Joint:
        """log p(x|z) and log p(z) with their gradients, for rows of images and latents.

        Rows come image by image, as many of each; `labels` are those of the images.
        """
        session = self.graphs.sessions["latent_to_evidence"]

        def terms(images: Array, latents: Doubles) -> JointTerms:
            feeds: dict[str, np.ndarray] = {"image": images, "latent": latents.astype(np.float32)}
            if session.signature.takes_label and labels is not None:
                feeds[LABEL] = labels.repeat(len(images) // len(labels))
            runs = [
                session.run({name: rows[start : start + ROWS_AT_ONCE] for name, rows in feeds.items()})
                for start in range(0, len(images), ROWS_AT_ONCE)
            ]
            parts = (np.concatenate([run[name] for run in runs]) for name in JointTerms._fields)
            return JointTerms(*(part.astype(np.float64) for part in parts))

        return terms

    def _starts(self, places: Sequence[int]) -> Doubles:
        """Draws from the prior, (images, chains and scouts, D)."""
        rows = self.how.rows_an_image
        noise = _chain_noise(places, rows, 0, self.graphs.noise_size, Stream.ANNEALING)
        return self.graphs.latents(noise).astype(np.float64).reshape(len(places), rows, -1)

    def _noise(self, places: Sequence[int], chains: int, stream: Stream) -> Noise:
        """Of every transition of the images' chains."""
        size = self.latent_size + EXTRA_NUMBERS
        return lambda step: _chain_noise(places, chains, step, size, stream).astype(np.float64)

    def _scale(self) -> Doubles:
        """How wide the prior is in each dimension."""
        if "noise_to_latent" not in self.graphs.sessions:
            return np.ones(self.latent_size)
        noise = standard_normal(SEED, range(SCALE_DRAWS), self.graphs.noise_size)
        scale: Doubles = self.graphs.latents(noise).astype(np.float64).std(axis=0)
        return scale

    def _labels_in_turn(self, count: int) -> Labels | None:
        classes = len(self.graphs.prior_of_labels)
        conditional = self.graphs.sessions["latent_to_evidence"].signature.takes_label
        return np.arange(count) % classes if conditional else None


def _chain_noise(
    places: Sequence[int], chains: int, step: int, size: int, stream: Stream
) -> Float32[np.ndarray, "rows size"]:
    """A function of the image's place, the chain's number and the step's, of nothing else: a row a chain."""
    numbered = [(place * MOST_CHAINS + chain) * MOST_STEPS + step for place in places for chain in range(chains)]
    return standard_normal(SEED, numbered, size, stream=stream)


def _pixel_scale(log_density_at_mean: float, pixels: int) -> float:
    """The one scale of a Gaussian whose log density at its mean is −n (log scale + ½ log 2π)."""
    return math.exp(-log_density_at_mean / pixels - 0.5 * math.log(2 * math.pi))


def _take(labels: Labels | None, places: Sequence[int]) -> Labels | None:
    return None if labels is None else labels[places]


def _blocks(count: int, doing: str) -> Iterator[list[int]]:
    """The places of the images, some at a time."""
    blocks = [list(range(count))[start : start + IMAGES_AT_ONCE] for start in range(0, count, IMAGES_AT_ONCE)]
    yield from progress(blocks, total=len(blocks), doing=doing)
