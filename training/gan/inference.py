"""What a generator lacks: a density of images around its own, and an encoder as the proposal of its latents.

p(x|z) = N(x; G(z), σ²I) is an assumption: a generator draws images, and says nothing of their neighbourhood (Wu, Burda,
Salakhutdinov, Grosse, arXiv:1611.04273, section 2). With it there is a p(x), which the encoder's q(z|x) bounds. Of a
generator that is told a class y all of this is given y: p(x|z,y), q(z|x,y), p(x|y), while p(z) knows nothing of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.encoder_section import EncoderConfig
from training.gan.generator import Generator
from training.nets.convolutional import ConvolutionalEncoder
from training.nets.dense import ImageShape
from training.nets.labels import LabelPicture, Labels, of_each_draw
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
    """Images in [−1, 1] to q(z|x), or with classes to q(z|x,y): the label is a picture beside the image."""

    def __init__(self, config: EncoderConfig, image_shape: ImageShape, latent_size: int, classes: int = 0) -> None:
        """`classes` are those that the generator is told apart, 0 where it is told nothing."""
        super().__init__()
        channels, height, width = image_shape
        self.label_picture = LabelPicture(classes, height, width) if classes else None
        self.family: PosteriorFamily = (
            DiagonalFamily(latent_size) if config.posterior == "diagonal" else FullCovarianceFamily(latent_size)
        )
        read = (channels + bool(classes), height, width)
        self.net = ConvolutionalEncoder(read, config.channels, config.residual_blocks, self.family.features)

    @property
    def classes(self) -> int:
        """How many classes a label chooses from; 0 where the encoder takes no label."""
        return self.label_picture.classes if self.label_picture is not None else 0

    def forward(self, image: Images, label: Labels | None = None) -> GaussianPosterior:
        """The posterior of each image. Raises ValueError where a label is missing, or is one too many."""
        if (label is None) == bool(self.classes):
            raise ValueError("this encoder needs labels" if label is None else "this encoder takes no labels")
        if self.label_picture is not None:
            image = torch.cat([image, self.label_picture(label)], dim=1)
        posterior: GaussianPosterior = self.family(self.net(image).float())
        return posterior


class GeneratorDensity(nn.Module):
    """A generator as a density of pixels in [0, 1]: z ~ N(0, I), x ~ N(G(z), σ²I); all images here are in [−1, 1].

    `scale` is σ, of pixels in [0, 1]. Where the generator is told a class, every method needs the labels of its images;
    otherwise there are none to give.
    """

    scale: Float[Tensor, ""]

    def __init__(self, generator: Generator, encoder: Encoder, scale: float = 0.3) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder
        self.register_buffer("scale", torch.tensor(scale))

    @property
    def classes(self) -> int:
        """How many classes a label chooses from; 0 where there are no labels."""
        return self.generator.classes

    def posterior(self, image: Images, label: Labels | None = None) -> GaussianPosterior:
        """q(z|x) or q(z|x,y)."""
        posterior: GaussianPosterior = self.encoder(image, label)
        return posterior

    def log_likelihood(
        self, image: Images, latent: Float[Tensor, "batch samples size"], label: Labels | None = None
    ) -> Float[Tensor, "batch samples"]:
        """log p(x|z) or log p(x|z,y) of each image under each of its latents."""
        drawn = self.generator(latent.flatten(0, 1), of_each_draw(label, latent.shape[1])).float()
        return self._log_density(image[:, None], drawn.unflatten(0, latent.shape[:2])).flatten(2).sum(dim=2)

    def log_likelihood_map(
        self, image: Images, latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> Float[Tensor, "batch h w"]:
        """What each pixel adds to log p(x|z) or log p(x|z,y), one latent an image."""
        return self._log_density(image, self.generator(latent, label)).sum(dim=1)

    def evidence(
        self, image: Images, noise: Float[Tensor, "batch samples size"], label: Labels | None = None
    ) -> LogTerms:
        """The log terms of the draws that the posterior makes of the noise; with labels those of log p(x|y)."""
        latent, log_posterior = self.posterior(image, label).draw(noise)
        log_likelihood = self.log_likelihood(image, latent, label)
        return LogTerms(log_likelihood, gaussian.standard_log_density(latent), log_posterior)

    def joint_with_gradients(
        self, image: Images, latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> JointTerms:
        """∇ log p(x|z) = Jᵀ (x − G(z)) / σ² in the units of [0, 1]; written out, so that it exports."""
        drawn, pullback = self.generator.linearised(latent, label)
        log_likelihood = self._log_density(image, drawn).flatten(1).sum(dim=1)
        towards = gaussian.score(_unit(image), _unit(drawn), self.scale) / 2  # of pixels in [−1, 1]
        return JointTerms(log_likelihood, gaussian.standard_log_density(latent), pullback(towards), -latent)

    def _log_density(self, image: Tensor, drawn: Tensor) -> Tensor:
        return gaussian.log_density(_unit(image), _unit(drawn), self.scale)


def _unit(image: Tensor) -> Tensor:
    """[−1, 1] to [0, 1]."""
    return (image + 1) / 2
