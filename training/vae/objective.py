"""The ELBO as a training signal, per example, in nats. What is maximised is an `elbo`, what is minimised a `loss`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from training.probability.gaussian import kl_to_standard_normal, log_density_of_draw, standard_log_density
from training.vae.model import VariationalAutoencoder


class ElboTerms(NamedTuple):
    """ELBO = reconstruction − KL, each (B) in nats."""

    reconstruction: Float[Tensor, " batch"]
    kl: Float[Tensor, " batch"]

    @property
    def elbo(self) -> Float[Tensor, " batch"]:
        """The evidence lower bound of each image."""
        return self.reconstruction - self.kl


def elbo_terms(
    model: VariationalAutoencoder,
    image: Float[Tensor, "batch c h w"],
    noise: Float[Tensor, "batch size"],
    *,
    kl: Literal["closed_form", "sampled"],
) -> ElboTerms:
    """The one-draw ELBO of each image.

    Kingma & Welling 2014: equation 7 with the closed-form KL, equation 6 with the sampled one. Both are unbiased; the
    closed form has the lower variance, the sampled one works for any prior and posterior.
    """
    mean, scale = model.posterior(image)
    latent = mean + scale * noise
    reconstruction = model.log_likelihood(image, latent[:, None])[:, 0]
    if kl == "closed_form":
        return ElboTerms(reconstruction, kl_to_standard_normal(mean, scale))
    return ElboTerms(reconstruction, log_density_of_draw(noise, scale) - standard_log_density(latent))


def warmup_weight(epoch: float, warmup_epochs: float) -> float:
    """The KL's weight at a (fractional) epoch: linear from 0 to 1 (Bowman et al. 2016; Sønderby et al. 2016)."""
    return 1.0 if warmup_epochs <= 0 else min(1.0, epoch / warmup_epochs)


def negative_elbo_loss(terms: ElboTerms, *, kl_weight: float = 1.0) -> Float[Tensor, " batch"]:
    """−(reconstruction − weight · KL) of each image; with weight 1, minus the ELBO."""
    return kl_weight * terms.kl - terms.reconstruction
