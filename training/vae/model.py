"""The variational autoencoder: an encoder that gives q(z|x), a decoder that gives p(x|z), and a prior p(z)."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from training.config import DataConfig, VaeConfig
from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from training.nets.dense import DenseDecoder, DenseEncoder
from training.probability.likelihood import Likelihood, make_likelihood
from training.probability.posterior import DiagonalFamily, Posterior, PosteriorFamily, make_posterior_family
from training.probability.prior import Prior, StandardNormalPrior, make_prior


class Evidence(NamedTuple):
    """The log terms of K draws from q(z|x), each (B, K), in nats. Every bound is a function of these three."""

    log_likelihood: Float[Tensor, "batch samples"]
    log_prior: Float[Tensor, "batch samples"]
    log_posterior: Float[Tensor, "batch samples"]

    def log_weights(self, kl_weight: float = 1.0) -> Float[Tensor, "batch samples"]:
        """log w = log p(x|z) + log p(z) − log q(z|x), the last two weighted where the KL is."""
        return self.log_likelihood + kl_weight * (self.log_prior - self.log_posterior)


class VariationalAutoencoder(nn.Module):
    """Kingma & Welling 2014. `forward` is `evidence`; noise always comes from the caller."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        latent_size: int,
        family: PosteriorFamily | None = None,
    ) -> None:
        """With a standard normal prior, which may be replaced, and a diagonal posterior where no family is given."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.latent_size = latent_size
        self.family = family or DiagonalFamily(latent_size)
        self.prior: Prior = StandardNormalPrior(latent_size)

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig) -> VariationalAutoencoder:
        """The model that an experiment describes, freshly initialised from torch's global generator."""
        shape = (data.channels, data.size, data.size)
        likelihood = make_likelihood(config.likelihood, data.channels)
        painted = (likelihood.output_channels(data.channels), data.size, data.size)
        family = make_posterior_family(config.posterior, config.latent_size)
        match config.nets:
            case "dense":
                encoder: nn.Module = DenseEncoder(shape, config.hidden, family.features)
                decoder: nn.Module = DenseDecoder(painted, config.hidden, config.latent_size)
            case "convolutional":
                encoder = ConvolutionalEncoder(shape, config.channels, config.residual_blocks, family.features)
                decoder = ConvolutionalDecoder(painted, config.channels, config.residual_blocks, config.latent_size)
        model = cls(encoder, decoder, likelihood, config.latent_size, family)
        model.prior = make_prior(config.prior, config.latent_size, shape, model.posterior)
        return model

    def posterior(self, image: Float[Tensor, "batch c h w"]) -> Posterior:
        """q(z|x) of each image, pixels in [0, 1]."""
        posterior: Posterior = self.family(self.encoder(image).float())
        return posterior

    def decode(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """E[x|z] of each latent, pixels in [0, 1]."""
        return self.likelihood.mean(self.decoder(latent).float())

    def sample(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch c h w"]:
        """E[x|z] at latents that the prior makes of standard normal noise of its size."""
        return self.decode(self.prior.from_noise(noise))

    def log_likelihood(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch samples size"]
    ) -> Float[Tensor, "batch samples"]:
        """log p(x|z) of each image under each of its latents."""
        output = self.decoder(latent.flatten(0, 1)).float()  # (B·K, C, H, W)
        return self.likelihood.log_density(image[:, None], output.unflatten(0, latent.shape[:2]))

    def evidence(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch samples size"]) -> Evidence:
        """The log terms of the draws that the posterior makes of the noise."""
        latent, log_posterior = self.posterior(image).draw(noise)
        return self.joint(image, latent, log_posterior)

    def joint(
        self,
        image: Float[Tensor, "batch c h w"],
        latent: Float[Tensor, "batch samples size"],
        log_posterior: Float[Tensor, "batch samples"],
    ) -> Evidence:
        """log p(x|z) and log p(z) of each image's latents, beside their given log q(z|x)."""
        return Evidence(self.log_likelihood(image, latent), self.prior.log_density(latent), log_posterior)

    def forward(self, image: Tensor, noise: Tensor) -> Evidence:
        """`evidence`."""
        return self.evidence(image, noise)
