"""How well latents of pictures are found by search, with the code that serves them: `app.runtime.inverting`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from app.manifest import GraphRole, Manifest, Metric
from app.runtime.answers import Encoded, EncodingMethod, Inferred, Samples, Timing
from app.runtime.inverting import Inverter, encoding_methods, search_of
from training.config import ConfigError
from training.data.splits import DataSplits
from training.evaluation.bounds import Average
from training.evaluation.protocol import SEED, as_metric, images_in_words
from training.evaluation.published import PublishedGraphs, subset

RECOVERED_MSE = 0.005
"""Of pixels in [0, 1]: an own sample whose image is found again this closely counts as recovered."""
FIRST_INDEX = 2**21
"""Of the samples that are searched for, among those of the seed: none of them is a start of a search."""
NO_TIME = Timing(0.0, 0.0)

Pictures = UInt8[np.ndarray, "n h w c"]
Labels = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class SearchedVersion:
    """A version's graphs in the place of a served model (`app.runtime.inverting.Searched`)."""

    graphs: PublishedGraphs
    manifest: Manifest

    def takes_label(self, *roles: GraphRole) -> bool:
        """Whether any of these graphs takes a label."""
        return not self.manifest.conditional_roles.isdisjoint(roles)

    async def infer(
        self, role: GraphRole, feeds: Mapping[str, np.ndarray], *, deadline: float | None = None
    ) -> Inferred:
        """One graph's outputs."""
        return Inferred(self.graphs.sessions[role].run(feeds), NO_TIME)

    async def sample(
        self, seed: int, indices: Sequence[int], *, labels: Labels | None = None, deadline: float | None = None
    ) -> Samples:
        """Pictures from the prior, at indices in a row."""
        size = self.manifest.latent.size
        latents = self.graphs.prior_latents(
            len(indices), latent_size=size, seed=seed, labels=labels, first_index=indices[0]
        )
        return Samples(latents, self.graphs.decode(latents, labels), NO_TIME)

    async def encode(
        self,
        pictures: Pictures,
        *,
        labels: Labels | None = None,
        deadline: float | None = None,
        method: EncodingMethod | None = None,
    ) -> Encoded:
        """What the encoder says."""
        posterior = self.graphs.posterior(pictures, labels)
        mean = posterior["mean"]
        return Encoded(mean, posterior.get("scale"), np.zeros((len(mean), 0, mean.shape[1]), np.float32), NO_TIME)


def inversion(graphs: PublishedGraphs, manifest: Manifest, data: DataSplits, count: int) -> dict[str, Metric]:
    """The share of own samples that are recovered, and the error that is reached on test pictures.

    Raises ConfigError where the version cannot be searched.
    """
    if "optimize" not in encoding_methods(manifest):
        raise ConfigError(f"{manifest.name}@{manifest.version} has no latent_gradient to search by")
    version = SearchedVersion(graphs, manifest)
    images = subset(data.test, count)
    inverter, labels = Inverter(), None if images.labels is None else np.resize(images.labels, count)
    own = asyncio.run(version.sample(SEED, range(FIRST_INDEX, FIRST_INDEX + count), labels=labels))
    recovered = _searched(inverter, version, own.images, labels)
    began = time.perf_counter()
    found = _searched(inverter, version, images.pictures, images.labels)
    each_ms = 1000 * (time.perf_counter() - began) / len(images)
    search = search_of(manifest)
    how = f"{search.restarts} starts × {search.steps} steps of L-BFGS"
    return {
        "own_samples_recovered": as_metric(
            Average.of((recovered <= RECOVERED_MSE).astype(np.float64)),
            f"fraction, at a mean squared error of pixels in [0, 1] of {RECOVERED_MSE} or less",
            f"{how}; {count:,} samples (seed {SEED}, from index {FIRST_INDEX:,} on)",
        ),
        "inversion_mse": as_metric(
            Average.of(found),
            "of pixels in [0, 1]",
            f"{how}; {images_in_words(images, data)}; {each_ms:.0f} ms an image, one thread",
        ),
    }


def _searched(inverter: Inverter, version: SearchedVersion, pictures: Pictures, labels: Labels | None) -> np.ndarray:
    told = labels if version.takes_label("latent_to_image") else None
    found = asyncio.run(inverter.encode(version, pictures, labels=told, deadline=None))
    assert found.mse is not None
    return found.mse
