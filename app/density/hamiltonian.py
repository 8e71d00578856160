"""Hamiltonian Monte Carlo for many rows at once, on the densities between a prior and a posterior.

Duane, Kennedy, Pendleton, Roweth, "Hybrid Monte Carlo" (1987); the form here is that of Neal, "MCMC using Hamiltonian
dynamics", arXiv:1206.1901. The model is a callable, so that any graph, or a closed form, can be behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Doubles = npt.NDArray[np.float64]

STEP_JITTER = 0.2
"""Each row's step size varies by about so much from one transition to the next: a trajectory of one fixed length can
come back to where it began (Neal, section 3.2)."""
EXTRA_NUMBERS = 3
"""Normal numbers that a transition needs besides a momentum for each dimension."""


class JointTerms(NamedTuple):
    """log p(x|z) and log p(z) of rows, each (B,) in nats, and their gradients in z, each (B, D)."""

    log_likelihood: Array
    log_prior: Array
    likelihood_gradient: Array
    prior_gradient: Array


Joint = Callable[[Array, Doubles], JointTerms]
"""Images (B, …) and latents (B, D) to their log terms."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the rows are (B, D), and what the model says there."""

    latent: Doubles
    terms: JointTerms

    def log_density(self, inverse_temperature: float) -> Doubles:
        """log p(z) + β log p(x|z): the geometric path from the prior (β = 0) to the posterior (β = 1)."""
        return np.asarray(self.terms.log_prior + inverse_temperature * self.terms.log_likelihood, np.float64)

    def gradient(self, inverse_temperature: float) -> Doubles:
        """∇ log p(z) + β ∇ log p(x|z)."""
        gradient = self.terms.prior_gradient + inverse_temperature * self.terms.likelihood_gradient
        return np.asarray(gradient, np.float64)

    def where(self, chosen: npt.NDArray[np.bool_], other: Position) -> Position:
        """These rows where they are chosen, the other's elsewhere."""
        terms = (
            np.where(chosen.reshape(-1, *[1] * (mine.ndim - 1)), mine, its)
            for mine, its in zip(self.terms, other.terms, strict=True)
        )
        return Position(np.where(chosen[:, None], self.latent, other.latent), JointTerms(*terms))


class Transition(NamedTuple):
    """Where the rows are now, and the probability (B,) that each had to move."""

    position: Position
    acceptance: Doubles


@dataclass(frozen=True, slots=True)
class Dynamics:
    """The model at given images, how many leapfrog steps a trajectory has, and the unit of length of each dimension."""

    joint: Joint
    images: Array
    leapfrog_steps: int
    scale: Doubles

    def at(self, latent: Doubles) -> Position:
        """The rows (B, D) with what the model says there."""
        return Position(latent, self.joint(self.images, latent))

    def transition(
        self, start: Position, inverse_temperature: float, step_sizes: Doubles, noise: Doubles
    ) -> Transition:
        """One trajectory and its acceptance, which leave the density at this β as it is.

        `step_sizes` (B,), in units of `scale`; `noise` (B, D + EXTRA_NUMBERS), standard normal: the momentum, the
        step's jitter, and two numbers whose half squared length is the exponential variate that the energy may rise by.
        """
        momentum, (jitter, first, second) = noise[:, :-EXTRA_NUMBERS], noise[:, -EXTRA_NUMBERS:].T
        steps = (step_sizes * np.exp(STEP_JITTER * jitter))[:, None]
        with np.errstate(all="ignore"):  # a trajectory that flies off is refused below
            end, arrived = self._leapfrog(start, inverse_temperature, steps, momentum)
            gain = end.log_density(inverse_temperature) - start.log_density(inverse_temperature)
            gain += 0.5 * (np.square(momentum).sum(axis=1) - np.square(arrived).sum(axis=1))
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        accepted = gain > -0.5 * (first**2 + second**2)
        return Transition(end.where(accepted, start), np.exp(np.minimum(gain, 0.0)))

    def _leapfrog(
        self, position: Position, inverse_temperature: float, steps: Doubles, momentum: Doubles
    ) -> tuple[Position, Doubles]:
        """Neal's equations 2.28 to 2.30, in coordinates z / scale."""
        kicks = steps * self.scale
        momentum = momentum + 0.5 * kicks * position.gradient(inverse_temperature)
        for step in range(1, self.leapfrog_steps + 1):
            position = self.at(position.latent + kicks * momentum)
            share = 1.0 if step < self.leapfrog_steps else 0.5
            momentum = momentum + share * kicks * position.gradient(inverse_temperature)
        return position, momentum
