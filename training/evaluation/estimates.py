"""Estimates of log p(x) that `evaluate` makes on request, from a version's files alone, each with its protocol.

All are lower bounds in expectation. The importance-weighted one leans on the encoder and annealing does not, so where
the two agree neither is far off; and on images that the model drew itself, annealing bounds from above as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.density.annealing import Annealed, Annealing
from app.density.bounds import RELIABLE_EFFECTIVE_SAMPLES, Bounds
from app.images.pixels import observe
from app.manifest import Manifest, Metric
from training.config import ConfigError, RunConfig
from training.data.binarise import binarise
from training.data.splits import DataSplits, ImageSet
from training.evaluation.annealed import AnnealedModel
from training.evaluation.bounds import Average
from training.evaluation.protocol import SEED, as_metric, images_in_words, pixels_in_words
from training.evaluation.published import PublishedGraphs, subset

NATS = "nats per image"

Metrics = dict[str, Metric]


@dataclass(frozen=True)
class Asked:
    """Which estimates `evaluate` was asked for."""

    images: int | None = None
    """Test images, or simulated ones; None is as many as the configuration evaluates on."""
    samples: int | None = None
    """K of the importance-weighted bound."""
    annealing: Annealing | None = None
    """On test images."""
    sandwich: Annealing | None = None
    """There and back, on simulated images."""

    def __bool__(self) -> bool:
        return bool(self.samples or self.annealing or self.sandwich)


@dataclass(frozen=True)
class Subject:
    """A published version and the data that it is measured on."""

    manifest: Manifest
    graphs: PublishedGraphs
    config: RunConfig
    data: DataSplits

    def estimates(self, asked: Asked) -> Metrics:
        """The numbers asked for. Raises ConfigError where this kind of model has none."""
        if "image_to_evidence" not in self.graphs.sessions:
            raise ConfigError(f"{self.manifest.name}@{self.manifest.version} has no density to estimate")
        count = asked.images or self.config.evaluation.images
        test = self.test_images(count)
        bounds = self.bounds(test, asked.samples) if asked.samples else []
        metrics: Metrics = {}
        if asked.samples:
            metrics |= self._importance_weighted(test, bounds, asked.samples)
        if asked.annealing:
            began = time.perf_counter()
            images = observe(test.pictures, self.manifest.image)
            chains = AnnealedModel(self.graphs, asked.annealing).estimates(images, test.labels)
            metrics |= self._annealed(test, chains, asked.annealing, time.perf_counter() - began)
            if bounds:
                metrics["annealed_minus_importance_weighted_nats"] = _difference(chains, bounds)
        if asked.sandwich:
            metrics |= self._simulated(count, asked.sandwich)
        return metrics

    def test_images(self, count: int) -> ImageSet:
        """The first of those that the card's numbers are of, binarised alike."""
        images = subset(self.data.test, count)
        return ImageSet(binarise(images.pictures, seed=SEED), images.labels) if self.config.data.binarise else images

    def bounds(self, test: ImageSet, samples: int) -> list[Bounds]:
        """The bounds of each of these, with K = `samples`."""
        return self.graphs.bounds(test.pictures, samples=samples, labels=test.labels)

    def _importance_weighted(self, test: ImageSet, bounds: Sequence[Bounds], samples: int) -> Metrics:
        average = Average.of(-bound.importance_weighted_nats for bound in bounds)
        protocol = f"importance-weighted bound, K = {samples}, {self._of(test)}; {_settled(bounds, samples)}"
        return {"importance_weighted_negative_log_likelihood_nats": as_metric(average, NATS, protocol)}

    def _annealed(self, test: ImageSet, chains: Sequence[Annealed], how: Annealing, seconds: float) -> Metrics:
        average = Average.of(-estimate.log_density_nats for estimate in chains)
        protocol = f"{_led(how)}, {self._of(test)}; {_chains_settled(chains, how)}; {seconds:.0f} s"
        return {"annealed_negative_log_likelihood_nats": as_metric(average, NATS, protocol)}

    def _simulated(self, count: int, how: Annealing) -> Metrics:
        if self.manifest.likelihood is None:
            raise ConfigError(f"{self.manifest.name}@{self.manifest.version} states no likelihood to draw pixels from")
        model, began = AnnealedModel(self.graphs, how), time.perf_counter()
        found = model.sandwiches(model.simulate(count, self.manifest.likelihood))
        lower, upper = [each.lower for each in found], [each.upper for each in found]
        drawn = f"{_led(how)}, {count:,} images that the model drew (seed {SEED}); {_chains_settled(lower, how)}"
        back = (
            "the same led back from the latents that the images were drawn at, with the same step sizes; "
            f"{_chains_settled(upper, how)}; {time.perf_counter() - began:.0f} s there and back"
        )
        gap = "upper less lower bound: annealing falls short of log p(x) by no more, in expectation"
        return {
            "simulated_lower_bound_nats": as_metric(Average.of(each.log_density_nats for each in lower), NATS, drawn),
            "simulated_upper_bound_nats": as_metric(Average.of(each.log_density_nats for each in upper), NATS, back),
            "simulated_gap_nats": as_metric(Average.of(each.gap_nats for each in found), NATS, gap),
        }

    def _of(self, test: ImageSet) -> str:
        given = ", each image's own label given" if "image_to_evidence" in self.manifest.conditional_roles else ""
        return f"{images_in_words(test, self.data)}, {pixels_in_words(self.config)}{given}"


def _difference(chains: Sequence[Annealed], bounds: Sequence[Bounds]) -> Metric:
    pairs = zip(chains, bounds, strict=True)
    average = Average.of(chain.log_density_nats - bound.importance_weighted_nats for chain, bound in pairs)
    return as_metric(average, NATS, "image by image; positive where annealing finds more of log p(x)")


def _led(how: Annealing) -> str:
    return (
        f"annealed importance sampling from the prior, {how.chains} chains × {how.temperatures} temperatures × "
        f"{how.leapfrog_steps} leapfrog steps"
    )


def _chains_settled(chains: Sequence[Annealed], how: Annealing) -> str:
    acceptance = np.mean([chain.acceptance for chain in chains])
    return f"{_settled(chains, how.chains)}; acceptance {acceptance:.2f}"


def _settled(found: Sequence[Annealed] | Sequence[Bounds], most: int) -> str:
    """How far each image's own estimate can be believed."""
    sizes = [each.effective_sample_size for each in found]
    errors = [each.standard_error_nats or 0.0 for each in found]
    few = sum(size < RELIABLE_EFFECTIVE_SAMPLES for size in sizes)
    return (
        f"of one image: standard error {np.mean(errors):.2f} nats on average, effective sample size "
        f"{np.mean(sizes):.1f} of {most} on average, and below {RELIABLE_EFFECTIVE_SAMPLES:g} for {few} of {len(sizes)}"
    )
