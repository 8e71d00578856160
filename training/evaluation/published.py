"""The numbers of a published version, measured from its files alone: graphs, manifest and the configuration in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import ValidationError

from app.density.bounds import Bounds
from app.errors import ModelRejected
from app.images.pixels import observe, to_bytes
from app.latent.noise import standard_normal
from app.manifest import Calibration, GraphRole, ImageSpace, Manifest, Metric
from app.runtime.session import GraphSession
from training.config import ConfigError, RunConfig
from training.data.binarise import binarise
from training.data.draws import Purpose, bit_generator, permutation
from training.data.splits import DataSplits, ImageSet
from training.evaluation.bounds import Average, set_bounds

SEED = 0
"""Of the subset, the binarisation and the noise of every number here; stated in the protocols."""
CALIBRATION_SAMPLES = 64
AT_ONCE = 200
SMALLEST_ACTIVE_KL_NATS = 0.01


@dataclass(frozen=True)
class PublishedGraphs:
    """The open graphs of one version."""

    image: ImageSpace
    sessions: dict[GraphRole, GraphSession]

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> PublishedGraphs:
        """Open every graph of a version's folder. Raises ConfigError where one is not what the manifest says."""
        try:
            sessions = {graph.role: GraphSession.open(folder / graph.file, graph) for graph in manifest.graphs}
        except ModelRejected as error:
            raise ConfigError(f"{folder} must not be served: {error.detail}") from error
        return cls(manifest.image, sessions)

    def sample(self, count: int, *, latent_size: int, seed: int = SEED) -> UInt8[np.ndarray, "n h w c"]:
        """The pictures that the service samples with this seed."""
        if "noise_to_latent" not in self.sessions:
            return self.decode(standard_normal(seed, range(count), latent_size))
        size = cast(int, self.sessions["noise_to_latent"].signature.inputs[0].shape[-1])
        noise = standard_normal(seed, range(count), size)
        return self.decode(self._in_parts("noise_to_latent", {"noise": noise})["latent"])

    def decode(self, latents: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n h w c"]:
        """Latents as pictures."""
        images = self._in_parts("latent_to_image", {"latent": latents})["image"]
        return to_bytes(images, self.image.pixel_range)

    def posterior(self, pictures: UInt8[np.ndarray, "n h w c"]) -> dict[str, Float32[np.ndarray, "n d"]]:
        """`mean` and, where the posterior has one, `scale` of each picture; for others the mean is the central draw."""
        size = self.sessions["image_to_latent"].signature.inputs[1].shape[-1]
        noise = np.zeros((len(pictures), cast(int, size)), np.float32)
        answer = self._in_parts("image_to_latent", {"image": observe(pictures, self.image), "noise": noise})
        return {"mean": answer["latent"], **answer}

    def realism(self, pictures: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, " n"]:
        """The discriminator's logit of each picture."""
        return self._in_parts("image_to_realism", {"image": observe(pictures, self.image)})["logit"]

    def bounds(self, pictures: UInt8[np.ndarray, "n h w c"], *, samples: int) -> list[Bounds]:
        """The bounds of each picture, as `/score` gives them."""
        images = observe(pictures, self.image)
        return set_bounds(self.sessions["image_to_evidence"], images, samples=samples, seed=SEED)

    def _in_parts(
        self, role: GraphRole, feeds: dict[str, Float32[np.ndarray, "n ..."]]
    ) -> dict[str, Float32[np.ndarray, "n ..."]]:
        session, count = self.sessions[role], len(next(iter(feeds.values())))
        parts = [
            session.run({name: array[start : start + AT_ONCE] for name, array in feeds.items()})
            for start in range(0, count, AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version's folder. Raises ConfigError when it cannot be read."""
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{folder} is not the folder of a published version: {error}") from error


def measure(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    """Every number that this kind of model has, each with its protocol."""
    found: dict[str, Metric] = {}
    if "image_to_evidence" in graphs.sessions:
        found |= _likelihood(graphs, config, data)
    if "image_to_latent" in graphs.sessions:
        found |= _reconstruction(graphs, config, data)
    if "image_to_realism" in graphs.sessions:
        found |= _discrimination(graphs, config, data)
    return found


def calibration(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> Calibration:
    """The ELBO of held-out pictures, read as the service reads an upload."""
    pictures = subset(data.validation, config.evaluation.calibration_images).pictures
    values = sorted(round(bound.elbo_nats, 4) for bound in graphs.bounds(pictures, samples=CALIBRATION_SAMPLES))
    return Calibration(
        statistic="elbo_nats", values=tuple(values), samples=CALIBRATION_SAMPLES, split=f"validation, n = {len(values)}"
    )


def active_dimensions(graphs: PublishedGraphs, data: DataSplits) -> tuple[int, ...]:
    """Latent dimensions that say something of validation pictures, by their mean KL to the prior, largest first.

    A dimension whose mean KL is below `SMALLEST_ACTIVE_KL_NATS` has collapsed onto the prior: the decoder ignores it.
    Where the prior is learned, it is the KL to the standard normal after the posteriors' overall mean and spread in
    that dimension were made 0 and 1. Empty where posteriors have no moments.
    """
    answer = graphs.posterior(subset(data.validation, 1000).pictures)
    if "scale" not in answer:
        return ()
    mean, scale = answer["mean"].astype(np.float64), answer["scale"].astype(np.float64)
    if "noise_to_latent" in graphs.sessions:
        spread = np.sqrt(mean.var(axis=0) + (scale**2).mean(axis=0))
        mean, scale = (mean - mean.mean(axis=0)) / spread, scale / spread
    kl = (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)).mean(axis=0)
    ranked = np.argsort(-kl, kind="stable")
    return tuple(int(dimension) for dimension in ranked if kl[dimension] >= SMALLEST_ACTIVE_KL_NATS)


def subset(images: ImageSet, count: int) -> ImageSet:
    """A random subset of a fixed seed, or all of a smaller set. Published test sets are not in random order."""
    if count >= len(images):
        return images
    return images.take(permutation(len(images), bit_generator(SEED, Purpose.EVALUATION))[:count])


def _likelihood(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    pictures = binarise(images.pictures, seed=SEED) if config.data.binarise else images.pictures
    samples = config.evaluation.importance_samples
    found = graphs.bounds(pictures, samples=samples)
    protocol = f"{_of(images, data)}, K = {samples}, {_pixels(config)}"
    tight, loose = Average.of(b.importance_weighted_nats for b in found), Average.of(b.elbo_nats for b in found)
    kl = Average.of(b.kl_nats for b in found)
    return {
        "negative_log_likelihood_nats": _metric(
            Average(-tight.mean, tight.standard_error), "nats per image", f"importance-weighted bound; {protocol}"
        ),
        "negative_elbo_nats": _metric(Average(-loose.mean, loose.standard_error), "nats per image", protocol),
        "kl_nats": _metric(kl, "nats per image", protocol),
    }


def _reconstruction(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    again = graphs.decode(graphs.posterior(images.pictures)["mean"])
    errors = ((again.astype(np.float64) - images.pictures) / 255) ** 2
    per_image = Average.of(errors.mean(axis=(1, 2, 3)))
    return {"reconstruction_mse": _metric(per_image, "of pixels in [0, 1]", f"{_of(images, data)}, posterior mean")}


def _discrimination(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    samples = graphs.sample(len(images), latent_size=config.model.latent_size)
    right = np.concatenate([graphs.realism(images.pictures) > 0, graphs.realism(samples) <= 0])
    return {
        "discriminator_accuracy": _metric(
            Average.of(right.astype(np.float64)),
            "fraction told apart; 0.5 is a generator that the discriminator cannot tell from data",
            f"{_of(images, data)} against as many samples (seed {SEED}); it says nothing across models",
        )
    }


def _pixels(config: RunConfig) -> str:
    if config.data.fixed_binary_test:
        return "the fixed binary images of Larochelle & Murray 2011"
    if config.data.binarise:
        return f"each binarised once, a pixel's grey as odds (seed {SEED})"
    return "pixels in [0, 1]"


def _of(images: ImageSet, data: DataSplits) -> str:
    if len(images) == len(data.test):
        return f"all {len(images):,} test images of {data.name}"
    return f"a random {len(images):,} of the {len(data.test):,} test images of {data.name} (seed {SEED})"


def _metric(average: Average, unit: str, protocol: str) -> Metric:
    return Metric(
        value=round(average.mean, 5), standard_error=round(average.standard_error, 5), unit=unit, protocol=protocol
    )
