"""The variational autoencoder: an encoder that gives q(z|x), a decoder that gives p(x|z), and p(z) = N(0, I)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.config import DataConfig, VaeConfig
from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from training.nets.dense import DenseDecoder, DenseEncoder
from training.probability import gaussian
from training.probability.likelihood import Likelihood, make_likelihood

SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE = -7.0, 2.0
"""Of q(z|x): beyond these the exponential only makes trouble."""


class Posterior(NamedTuple):
    """q(z|x) = N(mean, scale²), both (B, D)."""

    mean: Float[Tensor, "batch size"]
    scale: Float[Tensor, "batch size"]


class Evidence(NamedTuple):
    """The log terms of K draws from q(z|x), each (B, K), in nats. Every bound is a function of these three."""

    log_likelihood: Float[Tensor, "batch samples"]
    log_prior: Float[Tensor, "batch samples"]
    log_posterior: Float[Tensor, "batch samples"]


class VariationalAutoencoder(nn.Module):
    """Kingma & Welling 2014. `forward` is `evidence`; noise always comes from the caller."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.latent_size = latent_size

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig) -> VariationalAutoencoder:
        """The model that an experiment describes, freshly initialised from torch's global generator."""
        shape = (data.channels, data.size, data.size)
        features = 2 * config.latent_size
        match config.nets:
            case "dense":
                encoder: nn.Module = DenseEncoder(shape, config.hidden, features)
                decoder: nn.Module = DenseDecoder(shape, config.hidden, config.latent_size)
            case "convolutional":
                encoder = ConvolutionalEncoder(shape, config.channels, config.residual_blocks, features)
                decoder = ConvolutionalDecoder(shape, config.channels, config.residual_blocks, config.latent_size)
        return cls(encoder, decoder, make_likelihood(config.likelihood), config.latent_size)

    def posterior(self, image: Float[Tensor, "batch c h w"]) -> Posterior:
        """q(z|x) of each image, pixels in [0, 1]."""
        mean, log_scale = self.encoder(image).float().chunk(2, dim=-1)
        return Posterior(mean, torch.exp(log_scale.clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)))

    def decode(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """E[x|z] of each latent, pixels in [0, 1]."""
        return self.likelihood.mean(self.decoder(latent).float())

    def log_likelihood(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch samples size"]
    ) -> Float[Tensor, "batch samples"]:
        """log p(x|z) of each image under each of its latents."""
        output = self.decoder(latent.flatten(0, 1)).float()  # (B·K, C, H, W)
        return self.likelihood.log_density(image[:, None], output.unflatten(0, latent.shape[:2]))

    def evidence(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch samples size"]) -> Evidence:
        """The log terms of the draws z = mean + scale · noise."""
        mean, scale = (part[:, None] for part in self.posterior(image))  # (B, 1, D)
        latent = mean + scale * noise
        return Evidence(
            log_likelihood=self.log_likelihood(image, latent),
            log_prior=gaussian.standard_log_density(latent),
            log_posterior=gaussian.log_density_of_draw(noise, scale),
        )

    def forward(self, image: Tensor, noise: Tensor) -> Evidence:
        """`evidence`."""
        return self.evidence(image, noise)
