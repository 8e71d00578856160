"""The variational autoencoder: an encoder that gives q(z|x), a decoder that gives p(x|z), and a prior p(z)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.config import ConfigError, DataConfig, VaeConfig
from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from training.nets.dense import DenseDecoder, DenseEncoder
from training.nets.labels import LabelPicture, Labels, of_each_draw, one_hot
from training.probability.likelihood import Likelihood, make_likelihood
from training.probability.posterior import DiagonalFamily, FlowFamily, Posterior, PosteriorFamily, make_posterior_family
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
    """Kingma & Welling 2014. `forward` is `evidence`; noise always comes from the caller.

    With classes it is conditional: q(z|x,y) and p(x|z,y), while p(z) knows nothing of y, so that z is what a class
    leaves open (Sohn et al. 2015, section 4.1, with the prior of Kingma et al. 2014, model M2). Every method then needs
    the labels; otherwise there are none to give.
    """

    prior: Prior

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        latent_size: int,
        family: PosteriorFamily | None = None,
        label_picture: LabelPicture | None = None,
    ) -> None:
        """With a standard normal prior, which may be replaced, and a diagonal posterior where no family is given.

        With a `label_picture` the encoder reads it as one more channel, and the decoder the one-hot label after the
        latent.
        """
        super().__init__()
        self.label_picture = label_picture
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.latent_size = latent_size
        self.family = family or DiagonalFamily(latent_size)
        self.prior = StandardNormalPrior(latent_size)

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig, *, classes: int = 0) -> VariationalAutoencoder:
        """The model that an experiment describes, freshly initialised from torch's global generator.

        `classes` are those of the data, which a conditional model needs; ConfigError where it has none.
        """
        shape = (data.channels, data.size, data.size)
        told = _classes_told(config, classes)
        read = (data.channels + bool(told), data.size, data.size)
        likelihood = make_likelihood(config.likelihood, data.channels)
        painted = (likelihood.output_channels(data.channels), data.size, data.size)
        family = make_posterior_family(config.posterior, config.latent_size)
        match config.nets:
            case "dense":
                encoder: nn.Module = DenseEncoder(read, config.hidden, family.features)
                decoder: nn.Module = DenseDecoder(painted, config.hidden, config.latent_size + told)
            case "convolutional":
                size = (config.channels, config.residual_blocks)
                encoder = ConvolutionalEncoder(read, *size, family.features, config.dropout)
                decoder = ConvolutionalDecoder(painted, *size, config.latent_size + told, config.dropout)
            case "ladder":
                raise TypeError("a ladder has several layers of latents: it is a HierarchicalVae")
        label_picture = LabelPicture(told, data.size, data.size) if told else None
        model = cls(encoder, decoder, likelihood, config.latent_size, family, label_picture)
        model.prior = make_prior(config.prior, config.latent_size, shape, model.posterior)
        return model

    @property
    def classes(self) -> int:
        """How many classes a label chooses from; 0 where the model takes no label."""
        return self.label_picture.classes if self.label_picture is not None else 0

    @property
    def has_moments(self) -> bool:
        """Whether q(z|x) has a mean and a scale."""
        return not isinstance(self.family, FlowFamily)

    def posterior(self, image: Float[Tensor, "batch c h w"], label: Labels | None = None) -> Posterior:
        """q(z|x) or q(z|x,y) of each image, pixels in [0, 1]."""
        self._check(label)
        if self.label_picture is not None:
            image = torch.cat([image, self.label_picture(label)], dim=1)
        posterior: Posterior = self.family(self.encoder(image).float())
        return posterior

    def decode(self, latent: Float[Tensor, "batch size"], label: Labels | None = None) -> Float[Tensor, "batch c h w"]:
        """E[x|z] or E[x|z,y] of each latent, pixels in [0, 1]."""
        return self.likelihood.mean(self._decoded(latent, label))

    def sample(self, noise: Float[Tensor, "batch noise"], label: Labels | None = None) -> Float[Tensor, "batch c h w"]:
        """E[x|z] or E[x|z,y] at latents that the prior makes of standard normal noise of its size."""
        return self.decode(self.prior.from_noise(noise), label)

    def log_likelihood(
        self,
        image: Float[Tensor, "batch c h w"],
        latent: Float[Tensor, "batch samples size"],
        label: Labels | None = None,
    ) -> Float[Tensor, "batch samples"]:
        """log p(x|z) or log p(x|z,y) of each image under each of its latents."""
        output = self._decoded(latent.flatten(0, 1), of_each_draw(label, latent.shape[1]))  # (B·K, C, H, W)
        return self.likelihood.log_density(image[:, None], output.unflatten(0, latent.shape[:2]))

    def log_likelihood_map(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> Float[Tensor, "batch h w"]:
        """What each pixel adds to log p(x|z) or log p(x|z,y), one latent an image."""
        return self.likelihood.log_density_map(image, self._decoded(latent, label))

    def evidence(
        self,
        image: Float[Tensor, "batch c h w"],
        noise: Float[Tensor, "batch samples size"],
        label: Labels | None = None,
    ) -> Evidence:
        """The log terms of the draws that the posterior makes of the noise; with labels those of log p(x|y)."""
        latent, log_posterior = self.posterior(image, label).draw(noise)
        return self.joint(image, latent, log_posterior, label)

    def joint(
        self,
        image: Float[Tensor, "batch c h w"],
        latent: Float[Tensor, "batch samples size"],
        log_posterior: Float[Tensor, "batch samples"],
        label: Labels | None = None,
    ) -> Evidence:
        """log p(x|z) and log p(z) of each image's latents, beside their given log q(z|x)."""
        return Evidence(self.log_likelihood(image, latent, label), self.prior.log_density(latent), log_posterior)

    def forward(self, image: Tensor, noise: Tensor, label: Tensor | None = None) -> Evidence:
        """`evidence`."""
        return self.evidence(image, noise, label)

    def told(self, latent: Float[Tensor, "batch size"], label: Labels | None) -> Float[Tensor, "batch numbers"]:
        """What the decoder reads: the latent and, of a conditional model, the one-hot label after it."""
        self._check(label)
        return latent if label is None else torch.cat([latent, one_hot(label, self.classes)], dim=1)

    def _decoded(self, latent: Float[Tensor, "batch size"], label: Labels | None) -> Float[Tensor, "batch c h w"]:
        """The likelihood's parameters at each latent."""
        output: Tensor = self.decoder(self.told(latent, label)).float()
        return output

    def _check(self, label: Labels | None) -> None:
        if (label is None) == bool(self.classes):
            raise ValueError("this model needs labels" if label is None else "this model takes no labels")


def _classes_told(config: VaeConfig, classes: int) -> int:
    """How many classes the nets are told apart; 0 where they are told nothing."""
    if config.conditional and classes < 2:
        raise ConfigError("model.conditional needs a data set with two classes or more")
    return classes if config.conditional else 0
