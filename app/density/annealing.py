"""Annealed importance sampling: an estimate of log p(x) that needs no encoder, and bounds on it from both sides.

Neal, "Annealed importance sampling" (Statistics and Computing 11, 2001); for decoders Wu, Burda, Salakhutdinov, Grosse,
arXiv:1611.04273. Chains start at draws from the prior and are led to the posterior p(z|x) through the densities
p(z) p(x|z)^β; the mean of their weights is an unbiased estimate of p(x), so the mean of its logarithm is a lower bound.

On an image that the model itself drew, the latent behind it is an exact draw from its posterior, and chains led from
there back to the prior bound log p(x) from above (Grosse, Ghahramani, Adams, arXiv:1511.02543). The gap between both
says how far the estimate can be off.

Step sizes are not chosen by the chains that are weighed, which would bias them, but by a few scouts that run beside
them and are then thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from app.density.bounds import RELIABLE_EFFECTIVE_SAMPLES, bounds
from app.density.hamiltonian import Array, Doubles, Dynamics, Joint

STEEPNESS = 4.0
"""Of the sigmoidal schedule (Wu et al., section 4.1): temperatures lie closest at both ends, where most changes."""
ADAPTATION_RATE = 0.1
"""By how much the logarithm of a step size follows the acceptance, once the first steps have found its order."""

Noise = Callable[[int], Doubles]
"""The number of a transition, from 1 on, to standard normal noise (rows, D + EXTRA_NUMBERS), new at every call: a row a
chain, image by image."""


@dataclass(frozen=True, slots=True)
class Annealing:
    """How chains are led: the protocol of a number."""

    chains: int = 16
    temperatures: int = 500
    leapfrog_steps: int = 10
    scouts: int = 4
    target_acceptance: float = 0.65

    def __post_init__(self) -> None:
        if min(self.chains, self.temperatures, self.leapfrog_steps, self.scouts) < 1:
            raise ValueError(
                f"annealing needs a chain, a temperature, a leapfrog step and a scout at least, got {self}"
            )

    @property
    def rows_an_image(self) -> int:
        """Chains and scouts."""
        return self.chains + self.scouts

    @property
    def inverse_temperatures(self) -> Doubles:
        """β from 0 to 1, one more than there are temperatures: σ(δ (2t/T − 1)), stretched to reach both ends."""
        steps = np.linspace(-STEEPNESS, STEEPNESS, self.temperatures + 1)
        sigmoid = 1 / (1 + np.exp(-steps))
        schedule: Doubles = (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
        return schedule


@dataclass(frozen=True, slots=True)
class Annealed:
    """What the chains of one image say about log p(x)."""

    log_density_nats: float
    """Log mean weight; of chains led back, minus that."""
    standard_error_nats: float | None
    """By the delta method; None for one chain."""
    effective_sample_size: float
    """(Σw)²/Σw², between 1 and the number of chains."""
    acceptance: float
    """The share of trajectories that were accepted, by their probabilities."""

    @property
    def reliable(self) -> bool:
        """Whether the effective sample size is large enough for the standard error to be believed."""
        return self.effective_sample_size >= RELIABLE_EFFECTIVE_SAMPLES


class Annealings(NamedTuple):
    """The estimate of each image, and the step sizes (transitions, images) that the scouts found."""

    estimates: list[Annealed]
    step_sizes: Doubles


class Sandwich(NamedTuple):
    """Bounds on log p(x) of an image that the model drew: from chains led there and back."""

    lower: Annealed
    upper: Annealed

    @property
    def gap_nats(self) -> float:
        """By how much the lower bound can fall short of log p(x), at most, in expectation."""
        return self.upper.log_density_nats - self.lower.log_density_nats


def anneal(
    joint: Joint, images: Array, starts: Doubles, how: Annealing, noise: Noise, *, scale: Doubles | None = None
) -> Annealings:
    """log p(x) of images (N, …) from chains that start at draws (N, chains and scouts, D) from the prior.

    `scale` (D,) is the unit of length of each dimension. With βₜ from 0 to 1, log w = Σ (βₜ − βₜ₋₁) log p(x|zₜ₋₁) where
    zₜ₋₁ was reached by a transition at βₜ₋₁ (Neal 2001, equation 11).
    """
    betas, size = how.inverse_temperatures, starts.shape[-1]
    dynamics = _dynamics(joint, images, how, how.rows_an_image, _scale(scale, size))
    position = dynamics.at(starts.reshape(-1, size))
    log_weights = betas[1] * np.asarray(position.terms.log_likelihood, np.float64)
    step_sizes, acceptances = [np.full(len(images), size**-0.25)], []
    for step in range(1, how.temperatures):
        moved = dynamics.transition(position, betas[step], step_sizes[-1].repeat(how.rows_an_image), noise(step))
        position = moved.position
        log_weights += (betas[step + 1] - betas[step]) * position.terms.log_likelihood
        acceptance = moved.acceptance.reshape(len(images), -1)
        acceptances.append(acceptance[:, : how.chains].mean(axis=1))
        step_sizes.append(_adapted(step_sizes[-1], acceptance[:, how.chains :].mean(axis=1), step, how))
    weighed = log_weights.reshape(len(images), -1)[:, : how.chains]
    return Annealings(_estimates(weighed, acceptances), np.array(step_sizes[: how.temperatures - 1]))


def anneal_back(
    joint: Joint,
    images: Array,
    ends: Doubles,
    how: Annealing,
    noise: Noise,
    *,
    step_sizes: Doubles,
    scale: Doubles | None = None,
) -> list[Annealed]:
    """Upper bounds on log p(x) of images (N, …), from exact draws (N, D) from their posteriors.

    The chains take the temperatures of `anneal` in reverse, with the step sizes (transitions, N) that it found. The
    mean of exp(−Σ (βₜ − βₜ₋₁) log p(x|zₜ)) is an unbiased estimate of 1 / p(x) (Grosse et al. 2015, section 4.1).
    """
    betas, size = how.inverse_temperatures, ends.shape[-1]
    dynamics = _dynamics(joint, images, how, how.chains, _scale(scale, size))
    position = dynamics.at(ends.repeat(how.chains, axis=0))
    log_weights = (betas[-2] - 1) * np.asarray(position.terms.log_likelihood, np.float64)
    acceptances = []
    for step in range(how.temperatures - 1, 0, -1):
        moved = dynamics.transition(position, betas[step], step_sizes[step - 1].repeat(how.chains), noise(step))
        position = moved.position
        log_weights += (betas[step - 1] - betas[step]) * position.terms.log_likelihood
        acceptances.append(moved.acceptance.reshape(len(images), -1).mean(axis=1))
    estimates = _estimates(log_weights.reshape(len(images), -1), acceptances)
    return [replace(estimate, log_density_nats=-estimate.log_density_nats) for estimate in estimates]


def _adapted(step_sizes: Doubles, scouted: Doubles, step: int, how: Annealing) -> Doubles:
    """Longer steps where the scouts were accepted more often than they should be, and the other way round."""
    rate = max(ADAPTATION_RATE, step**-0.5)
    adapted: Doubles = step_sizes * np.exp(rate * (scouted - how.target_acceptance))
    return adapted


def _dynamics(joint: Joint, images: Array, how: Annealing, chains: int, scale: Doubles) -> Dynamics:
    return Dynamics(joint, images.repeat(chains, axis=0), how.leapfrog_steps, scale)


def _scale(scale: Doubles | None, size: int) -> Doubles:
    return np.ones(size) if scale is None else scale


def _estimates(log_weights: Doubles, acceptances: Sequence[Doubles]) -> list[Annealed]:
    """Of log weights (N, chains) and the acceptance of each transition (N,); with no transition none was refused."""
    acceptance = np.mean(acceptances, axis=0) if acceptances else np.ones(len(log_weights))
    weightless = np.zeros_like(log_weights[0])
    found = (bounds(row, weightless, weightless) for row in log_weights)
    return [
        Annealed(bound.importance_weighted_nats, bound.standard_error_nats, bound.effective_sample_size, float(share))
        for bound, share in zip(found, acceptance, strict=True)
    ]
