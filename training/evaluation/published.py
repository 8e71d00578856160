"""The numbers of a published version, measured from its files alone: graphs, manifest and the configuration in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from pydantic import ValidationError

from app.density.bounds import Bounds
from app.density.labels import LabelPosterior
from app.errors import ModelRejected
from app.images.pixels import observe, to_bytes
from app.latent.noise import Stream, standard_normal
from app.manifest import LABEL, Calibration, GraphRole, ImageSpace, Manifest, Metric
from app.runtime.session import GraphSession
from app.runtime.weights import read_weights
from training.config import AutoencoderConfig, ConfigError, RunConfig
from training.data.binarise import binarise
from training.data.draws import Purpose, bit_generator, permutation
from training.data.splits import DataSplits, ImageSet
from training.evaluation.bounds import Average, joint_bounds, set_bounds
from training.evaluation.codes import active_numbers, corrupted_pictures, mean_squared_errors
from training.evaluation.coupling import own_nearer
from training.evaluation.protocol import SEED
from training.evaluation.protocol import as_metric as _metric
from training.evaluation.protocol import images_in_words as _of
from training.evaluation.protocol import pixels_in_words as _pixels
from training.gan_sections import GanConfig

Labels = Int64[np.ndarray, " n"]

CALIBRATION_SAMPLES = 64
DISCOVERED = "code"
"""What a class that no label taught is called, before its number."""
MSE_UNIT = "of pixels in [0, 1]"
AT_ONCE = 200
SMALLEST_ACTIVE_KL_NATS = 0.01


@dataclass(frozen=True)
class PublishedGraphs:
    """The open graphs of one version."""

    image: ImageSpace
    sessions: dict[GraphRole, GraphSession]
    prior_of_labels: tuple[float, ...] = ()

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> PublishedGraphs:
        """Open every graph of a version's folder. Raises ConfigError where one is not what the manifest says."""
        try:
            weights = read_weights(folder, manifest.weights)
            sessions = {
                graph.role: GraphSession.open(folder / graph.file, graph, weights=weights) for graph in manifest.graphs
            }
        except ModelRejected as error:
            raise ConfigError(f"{folder} must not be served: {error.detail}") from error
        return cls(manifest.image, sessions, manifest.prior_of_labels)

    def sample(
        self,
        count: int,
        *,
        latent_size: int,
        seed: int = SEED,
        labels: Labels | None = None,
        first_index: int = 0,
    ) -> UInt8[np.ndarray, "n h w c"]:
        """The pictures that the service samples with this seed, from an index on, and of a conditional model with these
        labels.
        """
        latents = self.prior_latents(count, latent_size=latent_size, seed=seed, labels=labels, first_index=first_index)
        return self.decode(latents, labels)

    def prior_latents(
        self,
        count: int,
        *,
        latent_size: int,
        seed: int = SEED,
        labels: Labels | None = None,
        first_index: int = 0,
    ) -> Float32[np.ndarray, "n d"]:
        """The latents behind the pictures that the service samples with this seed."""
        indices = range(first_index, first_index + count)
        if "noise_to_latent" not in self.sessions:
            return standard_normal(seed, indices, latent_size)
        return self.latents(standard_normal(seed, indices, self.noise_size), labels)

    @property
    def noise_size(self) -> int:
        """Numbers of noise behind one latent."""
        role: GraphRole = "noise_to_latent" if "noise_to_latent" in self.sessions else "latent_to_image"
        return cast(int, self.sessions[role].signature.inputs[0].shape[-1])

    def latents(
        self, noise: Float32[np.ndarray, "n noise"], labels: Labels | None = None
    ) -> Float32[np.ndarray, "n d"]:
        """What the prior makes of noise: the noise itself where it has no graph."""
        if "noise_to_latent" not in self.sessions:
            return noise
        return self._in_parts("noise_to_latent", {"noise": noise}, labels)["latent"]

    def means(
        self, latents: Float32[np.ndarray, "n d"], labels: Labels | None = None
    ) -> Float32[np.ndarray, "n c h w"]:
        """E[x|z] of latents, in the model's pixel range."""
        return self._in_parts("latent_to_image", {"latent": latents}, labels)["image"]

    def decode(self, latents: Float32[np.ndarray, "n d"], labels: Labels | None = None) -> UInt8[np.ndarray, "n h w c"]:
        """Latents as pictures."""
        return to_bytes(self.means(latents, labels), self.image.pixel_range)

    def posterior(
        self, pictures: UInt8[np.ndarray, "n h w c"], labels: Labels | None = None
    ) -> dict[str, Float32[np.ndarray, "n d"]]:
        """`mean` and, where the posterior has one, `scale` of each picture; for others the mean is the central draw."""
        answer = self._encode(pictures, np.zeros((len(pictures), self._latent_size), np.float32), labels)
        return {"mean": answer["latent"], **answer}

    def posterior_draws(
        self, pictures: UInt8[np.ndarray, "n h w c"], labels: Labels | None = None
    ) -> Float32[np.ndarray, "n d"]:
        """One draw from the posterior of each picture, the first that the service gives with this module's seed."""
        noise = standard_normal(SEED, range(len(pictures)), self._latent_size, stream=Stream.POSTERIOR)
        return self._encode(pictures, noise, labels)["latent"]

    def realism(
        self, pictures: UInt8[np.ndarray, "n h w c"], labels: Labels | None = None
    ) -> Float32[np.ndarray, " n"]:
        """The discriminator's logit of each picture."""
        return self._in_parts("image_to_realism", {"image": observe(pictures, self.image)}, labels)["logit"]

    def most_likely_class(self, pictures: UInt8[np.ndarray, "n h w c"]) -> Labels:
        """The class of largest q(y|x) of each picture."""
        logits = self._in_parts("image_to_class", {"image": observe(pictures, self.image)})["logits"]
        return cast(Labels, logits.argmax(axis=1))

    def bounds(
        self, pictures: UInt8[np.ndarray, "n h w c"], *, samples: int, labels: Labels | None = None, seed: int = SEED
    ) -> list[Bounds]:
        """The bounds of each picture, as `/score` gives them: on log p(x|y) where the model is conditional."""
        images = observe(pictures, self.image)
        return set_bounds(self.sessions["image_to_evidence"], images, samples=samples, seed=seed, labels=labels)

    @property
    def _latent_size(self) -> int:
        return cast(int, self.sessions["image_to_latent"].signature.inputs[1].shape[-1])

    def _encode(
        self, pictures: UInt8[np.ndarray, "n h w c"], noise: Float32[np.ndarray, "n d"], labels: Labels | None
    ) -> dict[str, Float32[np.ndarray, "n d"]]:
        return self._in_parts("image_to_latent", {"image": observe(pictures, self.image), "noise": noise}, labels)

    def _in_parts(
        self, role: GraphRole, feeds: dict[str, Float32[np.ndarray, "n ..."]], labels: Labels | None = None
    ) -> dict[str, Float32[np.ndarray, "n ..."]]:
        """One graph's answers, a part of the rows at a time; labels go to a graph that takes them."""
        session, count = self.sessions[role], len(next(iter(feeds.values())))
        if session.signature.takes_label and labels is not None:
            feeds = {**feeds, LABEL: labels}
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
        found |= _codes(graphs, config, data)
    if "image_to_class" in graphs.sessions:
        found |= _classification(graphs, config, data)
    if "image_to_realism" in graphs.sessions:
        found |= _discrimination(graphs, config, data)
    if isinstance(config.model, GanConfig) and config.model.condition == "coupled":
        found |= _coupling(graphs, config)
    return found


def calibration(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> Calibration:
    """The ELBO of held-out pictures, read as the service reads an upload."""
    images = subset(data.validation, config.evaluation.calibration_images)
    found = graphs.bounds(images.pictures, samples=CALIBRATION_SAMPLES, labels=images.labels)
    values = sorted(round(bound.elbo_nats, 4) for bound in found)
    return Calibration(
        statistic="elbo_nats", values=tuple(values), samples=CALIBRATION_SAMPLES, split=f"validation, n = {len(values)}"
    )


def active_dimensions(graphs: PublishedGraphs, data: DataSplits) -> tuple[int, ...]:
    """Latent dimensions that say something of validation pictures, by their mean KL to the prior, largest first.

    A dimension whose mean KL is below `SMALLEST_ACTIVE_KL_NATS` has collapsed onto the prior: the decoder ignores it.
    Where the prior is learned, it is the KL to the standard normal after the posteriors' overall mean and spread in
    that dimension were made 0 and 1. Empty where posteriors have no moments.
    """
    images = subset(data.validation, 1000)
    answer = graphs.posterior(images.pictures, images.labels)
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


def drawn_labels(config: RunConfig, images: ImageSet) -> Labels | None:
    """The classes of as many samples: those of the images, where they have any; discovered ones take turns."""
    if isinstance(config.model, GanConfig) and config.model.condition == "discovered":
        return np.arange(len(images)) % config.model.discovered_classes
    return images.labels


def _likelihood(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    pictures = binarise(images.pictures, seed=SEED) if config.data.binarise else images.pictures
    samples = config.evaluation.importance_samples
    found = graphs.bounds(pictures, samples=samples, labels=images.labels)
    protocol = f"{_of(images, data)}, K = {samples}, {_pixels(config)}"
    if graphs.sessions["image_to_evidence"].signature.takes_label:
        marginal = _marginal_likelihood(graphs, config, data, ImageSet(pictures, images.labels))
        return marginal | _under_labels(found, protocol)
    tight, loose = Average.of(b.importance_weighted_nats for b in found), Average.of(b.elbo_nats for b in found)
    kl = Average.of(b.kl_nats for b in found)
    return {
        "negative_log_likelihood_nats": _metric(
            Average(-tight.mean, tight.standard_error), "nats per image", f"importance-weighted bound; {protocol}"
        ),
        "negative_elbo_nats": _metric(Average(-loose.mean, loose.standard_error), "nats per image", protocol),
        "kl_nats": _metric(kl, "nats per image", protocol),
    }


def _under_labels(found: list[Bounds], protocol: str) -> dict[str, Metric]:
    """Of log p(x|y), each image under its own label."""
    tight = Average.of(-bound.importance_weighted_nats for bound in found)
    loose, kl = Average.of(-bound.elbo_nats for bound in found), Average.of(bound.kl_nats for bound in found)
    given = f"each image's own label given; {protocol}"
    return {
        "conditional_negative_log_likelihood_nats": _metric(
            tight, "nats per image, −log p(x|y)", f"importance-weighted bound; {given}"
        ),
        "conditional_negative_elbo_nats": _metric(loose, "nats per image", given),
        "kl_nats": _metric(kl, "nats per image", given),
    }


def _marginal_likelihood(
    graphs: PublishedGraphs, config: RunConfig, data: DataSplits, images: ImageSet
) -> dict[str, Metric]:
    """Of log p(x) = log Σ p(y) p(x|y), with the samples shared out among the labels, and of argmax p(y|x)."""
    prior = np.array(graphs.prior_of_labels)
    samples = -(-config.evaluation.importance_samples // len(prior))
    seen = observe(images.pictures, graphs.image)
    session = graphs.sessions["image_to_evidence"]
    found = joint_bounds(session, seen, classes=len(prior), samples=samples, seed=SEED)
    over_labels = [LabelPosterior.of(row, prior) for row in found]
    wrong = np.array([label.most_likely for label in over_labels]) != images.labels
    protocol = f"{_of(images, data)}, K = {samples} under each of {len(prior)} labels, {_pixels(config)}"
    return {
        "negative_log_likelihood_nats": _metric(
            Average.of(-label.log_marginal for label in over_labels),
            "nats per image",
            f"−log Σ p(y) p(x|y) of importance-weighted bounds; {protocol}",
        ),
        "classification_error": _metric(
            Average.of(wrong.astype(np.float64)), "fraction", f"the label of largest p(y|x), by Bayes' rule; {protocol}"
        ),
    }


def _reconstruction(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    again = graphs.decode(graphs.posterior(images.pictures, images.labels)["mean"], images.labels)
    protocol = _of(images, data) + ("" if config.model.family == "autoencoder" else ", posterior mean")
    return {"reconstruction_mse": _metric(mean_squared_errors(again, images.pictures), MSE_UNIT, protocol)}


def _codes(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    """What only sparse and only denoising autoencoders have."""
    settings, images, found = config.model, subset(data.test, config.evaluation.images), {}
    if not isinstance(settings, AutoencoderConfig):
        return {}
    if settings.sparsity.kind != "none":
        active = active_numbers(graphs.posterior(images.pictures)["mean"])
        found["active_code_numbers"] = _metric(active, f"not zero of {settings.latent_size}", _of(images, data))
    if settings.corruption.kind != "none":
        spoilt = corrupted_pictures(images.pictures, settings.corruption, seed=SEED)
        cleaned = graphs.decode(graphs.posterior(spoilt)["mean"])
        before = mean_squared_errors(spoilt, images.pictures).mean
        protocol = f"{_of(images, data)}, spoilt as in training (seed {SEED}) and read as 8 bits, to {before:.4f}"
        found["denoising_mse"] = _metric(mean_squared_errors(cleaned, images.pictures), MSE_UNIT, protocol)
    return found


def _classification(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    """Of q(y|x), on every test picture: it is cheap, and published errors are of all of them."""
    if isinstance(config.model, GanConfig) and config.model.condition == "discovered":
        return _discovery(graphs, data)
    wrong = graphs.most_likely_class(data.test.pictures) != data.test.labels
    count = config.data.labelled_images
    told = "all labels told" if count is None else f"{count} labels told (seed {config.data.label_seed})"
    return {
        "classifier_error": _metric(
            Average.of(wrong.astype(np.float64)),
            "fraction",
            f"the label of largest q(y|x); {_of(data.test, data)}; {told}",
        )
    }


def _discovery(graphs: PublishedGraphs, data: DataSplits) -> dict[str, Metric]:
    """Of classes that no label taught: each is taken for that of most validation pictures in it."""
    if data.validation.labels is None:
        return {}
    found, labels = graphs.most_likely_class(data.validation.pictures), data.validation.labels
    counts = np.zeros((len(graphs.prior_of_labels), int(labels.max()) + 1))
    np.add.at(counts, (found, labels), 1)
    wrong = counts.argmax(axis=1)[graphs.most_likely_class(data.test.pictures)] != data.test.labels
    return {
        "discovery_error": _metric(
            Average.of(wrong.astype(np.float64)),
            "fraction",
            f"{len(counts)} discovered classes, each taken for that of most validation pictures in it; "
            f"{_of(data.test, data)}; no labels told in training",
        )
    }


def _coupling(graphs: PublishedGraphs, config: RunConfig) -> dict[str, Metric]:
    """Whether one latent is the same thing in both domains, where it is known how they were made."""
    if config.data.second_domain == "none":
        return {}
    latents = graphs.prior_latents(config.evaluation.images, latent_size=config.model.latent_size)
    first, second = (graphs.decode(latents, np.full(len(latents), domain)) for domain in (0, 1))
    return {
        "coupling": _metric(
            Average.of(own_nearer(first, second, config.data.second_domain)),
            "share of other latents that match worse; 1: the domains agree, 0.5: they are strangers",
            f"{len(latents):,} latents (seed {SEED}), each drawn in both domains, the first picture turned as the data "
            "were; distances of pixels",
        )
    }


def _discrimination(graphs: PublishedGraphs, config: RunConfig, data: DataSplits) -> dict[str, Metric]:
    images = subset(data.test, config.evaluation.images)
    samples = graphs.sample(len(images), latent_size=config.model.latent_size, labels=drawn_labels(config, images))
    real, fake = (graphs.realism(pictures, images.labels) for pictures in (images.pictures, samples))
    at_zero = not isinstance(config.model, GanConfig) or config.model.objective.divides_at_zero
    boundary = 0.0 if at_zero else float(np.median([real, fake]))
    right = np.concatenate([real > boundary, fake <= boundary])
    return {
        "discriminator_accuracy": _metric(
            Average.of(right.astype(np.float64)),
            "fraction told apart; 0.5 is a generator that the discriminator cannot tell from data",
            f"{_of(images, data)} against as many samples (seed {SEED}), divided at "
            f"{'0' if at_zero else 'the median logit'}; it says nothing across models",
        )
    }
