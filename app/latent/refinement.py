"""Choosing among samples by how real they look: Metropolis-Hastings with the generator as proposal. Pure numpy.

Turner, Hung, Frank, Saatchi, Yosinski, "Metropolis-Hastings generative adversarial networks", arXiv:1811.11357. A
calibrated discriminator knows the ratio of the data's density to the generator's, and proposals do not depend on where
the chain is, so the chain's stationary distribution is the data's, as far as the discriminator is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.latent.noise import Stream, standard_normal

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

UNIFORM_NUMBERS = 2
"""Normal numbers behind the uniform one that decides about a proposal."""


class Chosen(NamedTuple):
    """Which proposal each of N chains ends at, and the share of the others that it moved to."""

    places: npt.NDArray[np.intp]
    acceptance: Doubles


def further_noise(seed: int, indices: Sequence[int], count: int, size: int) -> tuple[Floats, Doubles]:
    """Noise (N, count, size) of proposals after the first, and log u (N, count), each a function of seed and index.

    Fewer are the beginning of more. −½ (a² + b²) of two standard normal numbers is the logarithm of a uniform one.
    """
    numbers = standard_normal(seed, indices, count * (size + UNIFORM_NUMBERS), stream=Stream.REFINEMENT)
    rows = numbers.reshape(len(indices), count, size + UNIFORM_NUMBERS)
    return rows[..., UNIFORM_NUMBERS:], -0.5 * np.square(rows[..., :UNIFORM_NUMBERS].astype(np.float64)).sum(axis=2)


def metropolis_hastings(log_ratios: Doubles, log_uniforms: Doubles) -> Chosen:
    """Lead chains through proposals with log p_data/p_generator (N, K), by log u (N, K − 1).

    α = min(1, r(x′) / r(x)) with r = D / (1 − D), equation 4 of the paper: the first proposal is where a chain starts.
    """
    count, proposals = log_ratios.shape
    rows, places, moves = np.arange(count), np.zeros(count, np.intp), np.zeros(count)
    for step in range(1, proposals):
        moved = log_uniforms[:, step - 1] < log_ratios[:, step] - log_ratios[rows, places]
        places, moves = np.where(moved, step, places), moves + moved
    return Chosen(places, moves / max(1, proposals - 1))
