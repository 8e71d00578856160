"""Bounds on log p(x) from the log terms of K posterior samples an image. All in nats.

With zₖ ~ q(z|x) and log wₖ = log p(x|zₖ) + log p(zₖ) − log q(zₖ|x):
the ELBO is the mean of log wₖ (Kingma & Welling, arXiv:1312.6114), the importance-weighted bound is the log of the mean
of wₖ (Burda, Grosse, Salakhutdinov, arXiv:1509.00519).

Samples may come in parts: a `Tally` keeps what the bounds need of those that have come, however many they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

RELIABLE_EFFECTIVE_SAMPLES = 10.0
"""From here on the importance-weighted bound is called reliable. Its standard error is about √(1/ESS − 1/K): at ten
effective samples at most 0.32 nats, beyond which the delta method behind it no longer holds."""
NORMAL_95 = 1.959963984540054
"""Standard errors to either side that a normal estimate lies within 95 times in 100."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What K samples say about one image.

    ELBO = reconstruction − KL = energy + entropy = importance-weighted − inference gap.
    """

    elbo_nats: float
    """Mean log weight: a lower bound on log p(x) in expectation."""
    importance_weighted_nats: float
    """Log mean weight: tighter, and never below the ELBO of the same samples."""
    standard_error_nats: float | None
    """Of the importance-weighted bound; None for one sample."""
    reconstruction_nats: float
    """E_q[log p(x|z)]."""
    kl_nats: float
    """Sampled KL(q(z|x) ‖ p(z)) = E_q[log q(z|x) − log p(z)]."""
    energy_nats: float
    """E_q[log p(x,z)]."""
    entropy_nats: float
    """Entropy of q(z|x): −E_q[log q(z|x)]."""
    inference_gap_nats: float
    """Importance-weighted bound − ELBO: estimates KL(q(z|x) ‖ p(z|x)) from below."""
    log_prior_nats: float
    """E_q[log p(z)]."""
    effective_sample_size: float
    """(Σw)²/Σw², between 1 and K (Kong 1992)."""
    reliable: bool
    """Whether the effective sample size is at least RELIABLE_EFFECTIVE_SAMPLES."""

    @property
    def half_width_nats(self) -> float | None:
        """Of the 95 % confidence interval of the importance-weighted bound; None for one sample."""
        return None if self.standard_error_nats is None else NORMAL_95 * self.standard_error_nats

    def is_within(self, half_width_nats: float) -> bool:
        """Whether the interval is known to be so narrow: an unreliable bound's own standard error proves nothing."""
        return self.reliable and self.half_width_nats is not None and self.half_width_nats <= half_width_nats


@dataclass(frozen=True, slots=True)
class Tally:
    """What K samples of each of N images leave behind. Weights are kept relative to each image's largest, in (0, 1]."""

    count: int
    """K"""
    sums: Doubles
    """(6, N): of log w, log p(x|z), log q − log p(z), log p(x,z), log q, log p(z)."""
    peak: Doubles
    """(N,): the largest log w."""
    weight: Doubles
    """(N,): Σ exp(log w − peak)."""
    square: Doubles
    """(N,): Σ exp(log w − peak)²."""
    spread: Doubles
    """(N,): Σ (exp(log w − peak) − their mean)²."""

    @classmethod
    def of(cls, log_likelihood: npt.ArrayLike, log_prior: npt.ArrayLike, log_posterior: npt.ArrayLike) -> Tally:
        """Of log p(x|zₖ), log p(zₖ) and log q(zₖ|x), each (N, K) with K ≥ 1 and finite."""
        terms = (np.asarray(term, np.float64) for term in (log_likelihood, log_prior, log_posterior))
        likelihood, prior, posterior = terms
        log_weights = likelihood + prior - posterior
        peak = log_weights.max(axis=1)
        weights = np.exp(log_weights - peak[:, None])
        each = (log_weights, likelihood, posterior - prior, likelihood + prior, posterior, prior)
        return cls(
            count=weights.shape[1],
            sums=np.stack([term.sum(axis=1) for term in each]),
            peak=peak,
            weight=weights.sum(axis=1),
            square=np.square(weights).sum(axis=1),
            spread=np.square(weights - weights.mean(axis=1, keepdims=True)).sum(axis=1),
        )

    def merged(self, other: Tally) -> Tally:
        """Of both tallies' samples of the same images.

        Spreads by the formula of Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
        sample variances" (1979): S = S₁ + S₂ + (mean₂ − mean₁)² K₁K₂ / (K₁ + K₂).
        """
        count, peak = self.count + other.count, np.maximum(self.peak, other.peak)
        mine, theirs = np.exp(self.peak - peak), np.exp(other.peak - peak)
        weights, others = self.weight * mine, other.weight * theirs
        apart = others / other.count - weights / self.count
        return Tally(
            count=count,
            sums=self.sums + other.sums,
            peak=peak,
            weight=weights + others,
            square=self.square * mine**2 + other.square * theirs**2,
            spread=self.spread * mine**2 + other.spread * theirs**2 + apart**2 * (self.count * other.count / count),
        )

    def take(self, chosen: npt.NDArray[np.bool_]) -> Tally:
        """Of some of the images."""
        per_image = (part[..., chosen] for part in (self.sums, self.peak, self.weight, self.square, self.spread))
        return Tally(self.count, *per_image)

    def bounds(self) -> list[Bounds]:
        """What is known of each image."""
        return [self._bounds(index) for index in range(len(self.peak))]

    def _bounds(self, index: int) -> Bounds:
        elbo, reconstruction, kl, energy, posterior, prior = (float(term) for term in self.sums[:, index] / self.count)
        weight = float(self.weight[index])
        # Jensen's inequality holds exactly; rounding may break it where all weights are equal.
        importance_weighted = max(elbo, float(self.peak[index]) + math.log(weight / self.count))
        effective_sample_size = weight**2 / float(self.square[index])
        return Bounds(
            elbo_nats=elbo,
            importance_weighted_nats=importance_weighted,
            standard_error_nats=self._standard_error(index),
            reconstruction_nats=reconstruction,
            kl_nats=kl,
            energy_nats=energy,
            entropy_nats=-posterior,
            inference_gap_nats=importance_weighted - elbo,
            log_prior_nats=prior,
            effective_sample_size=effective_sample_size,
            reliable=effective_sample_size >= RELIABLE_EFFECTIVE_SAMPLES,
        )

    def _standard_error(self, index: int) -> float | None:
        """Of log mean(w), by the delta method: sd(w) / (mean(w) √K)."""
        if self.count == 1:
            return None
        deviation = math.sqrt(float(self.spread[index]) / (self.count - 1))
        return deviation / (float(self.weight[index]) / self.count * math.sqrt(self.count))


def bounds(
    log_likelihood: npt.ArrayLike,
    log_prior: npt.ArrayLike,
    log_posterior: npt.ArrayLike,
) -> Bounds:
    """The bounds from log p(x|zₖ), log p(zₖ) and log q(zₖ|x), each (K,) with K ≥ 1 and finite."""
    terms = (np.asarray(term)[None] for term in (log_likelihood, log_prior, log_posterior))
    return Tally.of(*terms).bounds()[0]


def bits_per_dim(nats: float, dimensions: int, discrete: bool) -> float | None:
    """−nats / (dimensions · ln 2): code length per pixel and channel. None where x is continuous."""
    return -nats / (dimensions * math.log(2)) if discrete else None
