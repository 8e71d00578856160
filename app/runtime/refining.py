"""Samples that a calibrated discriminator chose: `app.latent.refinement` on served graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.errors import CapabilityNotOffered
from app.latent.refinement import further_noise, metropolis_hastings
from app.runtime.answers import Refined, together
from app.runtime.model import GenerativeModel
from app.runtime.threads import in_thread

ROWS_AT_ONCE = 128
"""Of proposals in a graph's queue for one request."""

Labels = npt.NDArray[np.int64]


async def refine(
    model: GenerativeModel,
    seed: int,
    indices: Sequence[int],
    *,
    proposals: int,
    labels: Labels | None = None,
    deadline: float | None = None,
) -> Refined:
    """For each index of a seed the end of a chain through so many proposals, the first of which is its plain sample.

    What an index gives depends on nothing but the seed, the index and the number of proposals.
    """
    if "refine" not in model.capabilities:
        raise CapabilityNotOffered(f"{model.ref} cannot refine", capabilities=model.capabilities)
    size = max(1, ROWS_AT_ONCE // proposals)
    parts = []
    for rows in (slice(start, start + size) for start in range(0, len(indices), size)):
        told = None if labels is None else labels[rows]
        parts.append(await _refine(model, seed, indices[rows], proposals, told, deadline))
    return Refined(
        np.concatenate([part.latents for part in parts]),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.acceptance for part in parts]),
        together(*(part.timing for part in parts)),
    )


async def _refine(
    model: GenerativeModel,
    seed: int,
    indices: Sequence[int],
    proposals: int,
    labels: Labels | None,
    deadline: float | None,
) -> Refined:
    size, told = model.manifest.noise_size, None if labels is None else labels.repeat(proposals)
    first = model.seed_noise(seed, indices)
    further, log_uniforms = await in_thread(further_noise, seed, indices, proposals - 1, size)
    noise = np.concatenate([first[:, None], further], axis=1).reshape(-1, size)
    drawn = await model.latents_of(noise, labels=told, deadline=deadline)
    decoded = await model.decode(drawn.latents, labels=told, deadline=deadline)
    judged = await model.realism(decoded.images, labels=told, deadline=deadline)
    assert judged.log_ratios is not None  # noqa: S101  the capability says so
    chosen = metropolis_hastings(judged.log_ratios.reshape(len(indices), proposals), log_uniforms)
    rows = np.arange(len(indices)) * proposals + chosen.places
    timing = together(drawn.timing, decoded.timing, judged.timing)
    return Refined(drawn.latents[rows], decoded.images[rows], chosen.acceptance, timing)
