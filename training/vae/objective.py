"""Bounds on log p(x) as training signals, per example, in nats: a bound is maximised, a `loss` minimised.

The encoder's gradient comes through the draws (reparameterised), through the draws alone where that is enough (doubly
reparameterised), or through the density of draws that are taken as given (score function). With labels, of a model that
takes them, every bound is on log p(x|y).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training.nets.labels import Labels
from training.probability.gaussian import kl_per_dimension
from training.probability.posterior import DiagonalPosterior, GaussianPosterior
from training.vae.hierarchical import HierarchicalVae
from training.vae.model import Evidence, VariationalAutoencoder

Images = Float[Tensor, "batch c h w"]
Noise = Float[Tensor, "batch samples size"]


class ElboTerms(NamedTuple):
    """ELBO = reconstruction − KL, each (B) in nats."""

    reconstruction: Float[Tensor, " batch"]
    kl: Float[Tensor, " batch"]

    @classmethod
    def of(cls, evidence: Evidence) -> ElboTerms:
        """The averages over the draws, with the sampled KL."""
        kl = evidence.log_posterior - evidence.log_prior
        return cls(evidence.log_likelihood.mean(dim=1), kl.mean(dim=1))

    @property
    def elbo(self) -> Float[Tensor, " batch"]:
        """The evidence lower bound of each image."""
        return self.reconstruction - self.kl


class Signal(NamedTuple):
    """What to minimise, whose value may mean nothing by itself, and the terms that it was made of."""

    loss: Float[Tensor, " batch"]
    terms: ElboTerms


def elbo_terms(
    model: VariationalAutoencoder,
    image: Images,
    noise: Float[Tensor, "batch size"],
    *,
    kl: Literal["closed_form", "sampled"],
    free_bits: float = 0.0,
    label: Labels | None = None,
) -> ElboTerms:
    """The one-draw ELBO of each image.

    Kingma & Welling 2014: equation 7 with the closed-form KL, equation 6 with the sampled one. Both are unbiased; the
    closed form has the lower variance, the sampled one works for any prior and posterior.
    """
    if kl == "sampled" and free_bits:
        return _spared_by_layer(model, image, noise, free_bits)
    if kl == "sampled":
        return ElboTerms.of(model.evidence(image, noise[:, None], label))
    posterior = model.posterior(image, label)
    latent = posterior.draw(noise[:, None]).latent
    reconstruction = model.log_likelihood(image, latent, label)[:, 0]
    if free_bits:
        if not isinstance(posterior, DiagonalPosterior):
            raise TypeError(f"free bits need a diagonal posterior, not a {type(posterior).__name__}")
        return ElboTerms(reconstruction, free_bits_kl(kl_per_dimension(posterior.mean, posterior.scale), free_bits))
    if not isinstance(posterior, GaussianPosterior):
        raise TypeError(f"the KL of a {type(posterior).__name__} has no closed form")
    return ElboTerms(reconstruction, posterior.kl_to_standard_normal())


def _spared_by_layer(
    model: VariationalAutoencoder, image: Images, noise: Float[Tensor, "batch size"], minimum: float
) -> ElboTerms:
    """The terms of a hierarchical model, with the KL that each layer has beyond its free bits."""
    if not isinstance(model, HierarchicalVae):
        raise TypeError(f"free bits of a sampled KL are those of layers: a {type(model).__name__} has one")
    log_likelihood, log_prior, log_posterior = model.evidence_by_layer(image, noise[:, None])
    return ElboTerms(log_likelihood[:, 0], free_bits_kl((log_posterior - log_prior)[:, 0], minimum))


def free_bits_kl(kl: Float[Tensor, "batch size"], minimum: float) -> Float[Tensor, " batch"]:
    """Σ max(minimum, KL of dimension (or layer) i averaged over the batch): Kingma et al. 2016, equation 15.

    A dimension below the minimum counts as the minimum for every image, so the average over the batch is that sum, and
    nothing pushes the dimension further down.
    """
    spared = kl.mean(dim=0) < minimum
    return torch.where(spared, minimum, kl).sum(dim=1)


def warmup_weight(epoch: float, warmup_epochs: float) -> float:
    """The KL's weight at a (fractional) epoch: linear from 0 to 1 (Bowman et al. 2016; Sønderby et al. 2016)."""
    return 1.0 if warmup_epochs <= 0 else min(1.0, epoch / warmup_epochs)


def negative_elbo_loss(terms: ElboTerms, *, kl_weight: float = 1.0) -> Float[Tensor, " batch"]:
    """−(reconstruction − weight · KL) of each image; with weight 1, minus the ELBO."""
    return kl_weight * terms.kl - terms.reconstruction


def importance_weighted_bound(evidence: Evidence, *, kl_weight: float = 1.0) -> Float[Tensor, " batch"]:
    """log 1/K Σ wₖ of each image (Burda et al. 2016, equation 8); with K = 1 the one-draw ELBO."""
    log_weights = evidence.log_weights(kl_weight)
    return torch.logsumexp(log_weights, dim=1) - math.log(log_weights.shape[1])


def importance_weighted_signal(
    model: VariationalAutoencoder,
    image: Images,
    noise: Noise,
    *,
    kl_weight: float = 1.0,
    label: Labels | None = None,
) -> Signal:
    """Minus the importance-weighted bound, its gradient reparameterised."""
    evidence = model.evidence(image, noise, label)
    return Signal(-importance_weighted_bound(evidence, kl_weight=kl_weight), ElboTerms.of(evidence))


def doubly_reparameterised_signal(
    model: VariationalAutoencoder,
    image: Images,
    noise: Noise,
    *,
    kl_weight: float = 1.0,
    label: Labels | None = None,
) -> Signal:
    """The same expected gradient as `importance_weighted_signal`, without the encoder's score (Tucker et al. 2019).

    Decoder and prior get Σ w̃ₖ ∇ log wₖ with the normalised weights w̃. The encoder gets, through the draws alone,
    Σ w̃ₖ² ∂log wₖ/∂zₖ · ∂zₖ/∂φ (equation 8); where the KL weighs β, w̃ (1 − β + β w̃) in place of w̃². For one draw it is
    the gradient of Roeder et al. 2017. Its variance vanishes where q(z|x) is the exact posterior, and does not grow
    with K.
    """
    posterior = model.posterior(image, label)
    latent, exact = posterior.draw(noise)
    score_free = posterior.held().log_density(latent)
    evidence = model.joint(image, latent, score_free, label)
    shares = torch.softmax(evidence.log_weights(kl_weight).detach(), dim=1)
    if latent.requires_grad:
        pathwise = (1 - kl_weight + kl_weight * shares)[..., None]
        latent.register_hook(lambda gradient: gradient * pathwise)
    loss = -(shares * evidence.log_weights(kl_weight)).sum(dim=1)
    return Signal(loss, ElboTerms.of(evidence._replace(log_posterior=exact)))


def score_function_signal(
    model: VariationalAutoencoder,
    image: Images,
    noise: Noise,
    *,
    kl_weight: float = 1.0,
    label: Labels | None = None,
) -> Signal:
    """The ELBO's gradient without differentiating the draws: E[(log w − b) ∇ log q(z|x)].

    Williams 1992; for this bound Mnih & Gregor 2014. The baseline b is the mean log w of the other draws of the batch,
    which does not depend on the draw itself.
    """
    posterior = model.posterior(image, label)
    latent = posterior.draw(noise).latent.detach()
    evidence = model.joint(image, latent, posterior.log_density(latent), label)
    reward = evidence.log_weights(kl_weight).detach()
    baseline = (reward.sum() - reward) / max(1, reward.numel() - 1)
    score = (reward - baseline) * evidence.log_posterior
    generative = evidence.log_likelihood + kl_weight * evidence.log_prior
    return Signal(-(score + generative).mean(dim=1), ElboTerms.of(evidence))
