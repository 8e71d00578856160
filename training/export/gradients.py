"""The graphs that hold a gradient: what moves latents towards an image, or along a density, without PyTorch."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from training.gan.generator import Generator
from training.nets.adjoint import Linearised, linearise
from training.nets.labels import Labels
from training.vae.model import VariationalAutoencoder


class JointWithGradients(NamedTuple):
    """log p(x|z) and log p(z) of each row, and their gradients in z, in nats."""

    log_likelihood: Float[Tensor, " batch"]
    log_prior: Float[Tensor, " batch"]
    likelihood_gradient: Float[Tensor, "batch size"]
    prior_gradient: Float[Tensor, "batch size"]


class LatentToEvidence(nn.Module):
    """Both parts of log p(x, z) at a latent, with gradients: the density along any path between prior and posterior."""

    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> JointWithGradients:
        """∇ log p(x|z) is the likelihood's score in the decoder's output, back through the decoder."""
        output, pullback = _linearised_decoder(self.vae, latent, label)
        likelihood, prior = self.vae.likelihood, self.vae.prior.with_gradient(latent)
        return JointWithGradients(
            likelihood.log_density(image, output),
            prior.log_density,
            pullback(likelihood.score(image, output)),
            prior.gradient,
        )


class VaeLatentGradient(nn.Module):
    """The adjoint of a decoder and the mean of its likelihood."""

    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, latent: Float[Tensor, "batch size"], cotangent: Float[Tensor, "batch c h w"], label: Labels | None = None
    ) -> Tensor:
        """∂⟨cotangent, E[x|z]⟩ / ∂z."""
        output, pullback = _linearised_decoder(self.vae, latent, label)
        return pullback(self.vae.likelihood.linearised_mean(output).pullback(cotangent))


class GeneratorLatentGradient(nn.Module):
    """The adjoint of a generator."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self, latent: Float[Tensor, "batch size"], cotangent: Float[Tensor, "batch c h w"], label: Labels | None = None
    ) -> Tensor:
        """∂⟨cotangent, G(z)⟩ / ∂z."""
        return self.generator.linearised(latent, label).pullback(cotangent)


def _linearised_decoder(vae: VariationalAutoencoder, latent: Tensor, label: Labels | None) -> Linearised:
    """The decoder at a latent; of a cotangent of what it reads, the label's part leads nowhere."""
    output, pullback = linearise(vae.decoder, vae.told(latent, label))
    return Linearised(output, lambda cotangent: pullback(cotangent)[:, : vae.latent_size])
