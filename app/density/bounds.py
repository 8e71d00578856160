"""Bounds on log p(x) from the log terms of K posterior samples of one image. All in nats.

With zₖ ~ q(z|x) and log wₖ = log p(x|zₖ) + log p(zₖ) − log q(zₖ|x):
the ELBO is the mean of log wₖ (Kingma & Welling, arXiv:1312.6114), the importance-weighted bound is the log of the mean
of wₖ (Burda, Grosse, Salakhutdinov, arXiv:1509.00519).
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


def bounds(
    log_likelihood: npt.ArrayLike,
    log_prior: npt.ArrayLike,
    log_posterior: npt.ArrayLike,
) -> Bounds:
    """The bounds from log p(x|zₖ), log p(zₖ) and log q(zₖ|x), each (K,) with K ≥ 1 and finite."""
    likelihood, prior, posterior = (np.asarray(term, np.float64) for term in (log_likelihood, log_prior, log_posterior))
    log_weights = likelihood + prior - posterior
    elbo = float(log_weights.mean())
    peak = float(log_weights.max())
    weights = np.exp(log_weights - peak)  # in (0, 1], so that nothing overflows
    # Jensen's inequality holds exactly; rounding may break it where all weights are equal.
    importance_weighted = max(elbo, peak + math.log(weights.mean()))
    effective_sample_size = float(weights.sum() ** 2 / np.square(weights).sum())
    return Bounds(
        elbo_nats=elbo,
        importance_weighted_nats=importance_weighted,
        standard_error_nats=_standard_error(weights),
        reconstruction_nats=float(likelihood.mean()),
        kl_nats=float((posterior - prior).mean()),
        energy_nats=float((likelihood + prior).mean()),
        entropy_nats=float(-posterior.mean()),
        inference_gap_nats=importance_weighted - elbo,
        log_prior_nats=float(prior.mean()),
        effective_sample_size=effective_sample_size,
        reliable=effective_sample_size >= RELIABLE_EFFECTIVE_SAMPLES,
    )


def bits_per_dim(nats: float, dimensions: int, discrete: bool) -> float | None:
    """−nats / (dimensions · ln 2): code length per pixel and channel. None where x is continuous."""
    return -nats / (dimensions * math.log(2)) if discrete else None


def _standard_error(weights: Doubles) -> float | None:
    """Of log mean(w), by the delta method: sd(w) / (mean(w) √K)."""
    if weights.size == 1:
        return None
    return float(weights.std(ddof=1) / (weights.mean() * math.sqrt(weights.size)))
