"""What a generator lacks: a density of images around its own, and an encoder as the proposal of its latents.

p(x|z) = N(x; G(z), σ²I) is an assumption: a generator draws images, and says nothing of their neighbourhood (Wu, Burda,
Salakhutdinov, Grosse, arXiv:1611.04273, section 2). With it there is a p(x), which the encoder's q(z|x) bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.encoder_section import EncoderConfig
from training.nets.adjoint import Linearised, linearise
from training.nets.convolutional import ConvolutionalEncoder
from training.nets.dense import ImageShape
from training.probability import gaussian
from training.probability.posterior import DiagonalFamily, FullCovarianceFamily, GaussianPosterior, PosteriorFamily

Images = Float[Tensor, "batch c h w"]


class LogTerms(NamedTuple):
    """The log terms of K draws from q(z|x), each (B, K), in nats."""

    log_likelihood: Float[Tensor, "batch samples"]
    log_prior: Float[Tensor, "batch samples"]
    log_posterior: Float[Tensor, "batch samples"]

    @property
    def elbo(self) -> Float[Tensor, " batch"]:
        """E_q[log p(x,z) − log q(z|x)], the mean over the draws."""
        return (self.log_likelihood + self.log_prior - self.log_posterior).mean(dim=1)


class JointTerms(NamedTuple):
    """log p(x|z) and log p(z) of each row, and their gradients in z, in nats."""

    log_likelihood: Float[Tensor, " batch"]
    log_prior: Float[Tensor, " batch"]
    likelihood_gradient: Float[Tensor, "batch size"]
    prior_gradient: Float[Tensor, "batch size"]


class Encoder(nn.Module):
    """Images in [−1, 1] to q(z|x)."""

    def __init__(self, config: EncoderConfig, image_shape: ImageShape, latent_size: int) -> None:
        super().__init__()
        self.family: PosteriorFamily = (
            DiagonalFamily(latent_size) if config.posterior == "diagonal" else FullCovarianceFamily(latent_size)
        )
        self.net = ConvolutionalEncoder(image_shape, config.channels, config.residual_blocks, self.family.features)

    def forward(self, image: Images) -> GaussianPosterior:
        """The posterior of each image."""
        posterior: GaussianPosterior = self.family(self.net(image).float())
        return posterior


class GeneratorDensity(nn.Module):
    """A generator as a density of pixels in [0, 1]: z ~ N(0, I), x ~ N(G(z), σ²I); all images here are in [−1, 1].

    `scale` is σ, of pixels in [0, 1].
    """

    scale: Float[Tensor, ""]

    def __init__(self, generator: nn.Module, encoder: Encoder, scale: float = 0.3) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.register_buffer("scale", torch.tensor(scale))

    def posterior(self, image: Images) -> GaussianPosterior:
        """q(z|x)."""
        posterior: GaussianPosterior = self.encoder(image)
        return posterior

    def log_likelihood(
        self, image: Images, latent: Float[Tensor, "batch samples size"]
    ) -> Float[Tensor, "batch samples"]:
        """log p(x|z) of each image under each of its latents."""
        drawn = self.generator(latent.flatten(0, 1)).float().unflatten(0, latent.shape[:2])
        return self._log_density(image[:, None], drawn).flatten(2).sum(dim=2)

    def log_likelihood_map(self, image: Images, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch h w"]:
        """What each pixel adds to log p(x|z), one latent an image."""
        return self._log_density(image, self.generator(latent)).sum(dim=1)

    def evidence(self, image: Images, noise: Float[Tensor, "batch samples size"]) -> LogTerms:
        """The log terms of the draws that the posterior makes of the noise."""
        latent, log_posterior = self.posterior(image).draw(noise)
        return LogTerms(self.log_likelihood(image, latent), gaussian.standard_log_density(latent), log_posterior)

    def joint_with_gradients(self, image: Images, latent: Float[Tensor, "batch size"]) -> JointTerms:
        """∇ log p(x|z) = Jᵀ (x − G(z)) / σ² in the units of [0, 1]; written out, so that it exports."""
        drawn, pullback = self._linearised(latent)
        log_likelihood = self._log_density(image, drawn).flatten(1).sum(dim=1)
        towards = gaussian.score(_unit(image), _unit(drawn), self.scale) / 2  # of pixels in [−1, 1]
        return JointTerms(log_likelihood, gaussian.standard_log_density(latent), pullback(towards), -latent)

    def _linearised(self, latent: Float[Tensor, "batch size"]) -> Linearised:
        return linearise(self.generator, latent)

    def _log_density(self, image: Tensor, drawn: Tensor) -> Tensor:
        return gaussian.log_density(_unit(image), _unit(drawn), self.scale)


def _unit(image: Tensor) -> Tensor:
    """[−1, 1] to [0, 1]."""
    return (image + 1) / 2
