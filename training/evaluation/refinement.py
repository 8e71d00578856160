"""Samples that a version's calibrated discriminator chose, from its files alone: what `sample` with `refine` gives.

The chain is the service's, `app.latent.refinement`; the tests hold the pictures to those of the service.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.latent.refinement import further_noise, metropolis_hastings
from app.manifest import Manifest, Metric
from training.config import ConfigError
from training.evaluation.bounds import Average
from training.evaluation.protocol import SEED, as_metric
from training.evaluation.published import PublishedGraphs
from training.evaluation.quality import Samples

PROPOSALS_AT_ONCE = 2048


def refined(
    graphs: PublishedGraphs, manifest: Manifest, samples: Samples, proposals: int
) -> tuple[Samples, dict[str, Metric]]:
    """The same indices of the same seed, each led through so many proposals, and the share of these that were accepted.

    Raises ConfigError where the version has no calibrated discriminator, or there is nothing to choose among.
    """
    if manifest.realism is None or "refine" not in manifest.capabilities:
        raise ConfigError(f"{manifest.name}@{manifest.version} cannot refine: it has no calibrated discriminator")
    if proposals < 2:
        raise ConfigError("--refine chooses among proposals: 2 or more")
    count, size = len(samples.pictures), max(1, PROPOSALS_AT_ONCE // proposals)
    parts = [
        _refined(graphs, manifest, samples, range(start, min(start + size, count)), proposals)
        for start in range(0, count, size)
    ]
    pictures, accepted = (np.concatenate(each) for each in zip(*parts, strict=True))
    protocol = f"{count:,} chains (seed {SEED}) of {proposals} proposals each, the first of which is the plain sample"
    rate = as_metric(Average.of(accepted), "share of proposals that a chain moved to", protocol)
    return replace(samples, pictures=pictures), {"refinement_acceptance": rate}


def _refined(
    graphs: PublishedGraphs, manifest: Manifest, samples: Samples, indices: range, proposals: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures and acceptance rates of these indices; a GAN's noise is its latent."""
    assert manifest.realism is not None
    size, labels = manifest.latent.size, samples.labels
    told = None if labels is None else labels[indices.start : indices.stop].repeat(proposals)
    first = graphs.prior_latents(len(indices), latent_size=size, seed=SEED, labels=None, first_index=indices.start)
    further, log_uniforms = further_noise(SEED, indices, proposals - 1, size)
    pictures = graphs.decode(np.concatenate([first[:, None], further], axis=1).reshape(-1, size), told)
    logits = graphs.realism(pictures, told).astype(np.float64).reshape(len(indices), proposals)
    chosen = metropolis_hastings(manifest.realism.slope * logits + manifest.realism.intercept, log_uniforms)
    return pictures[np.arange(len(indices)) * proposals + chosen.places], chosen.acceptance
