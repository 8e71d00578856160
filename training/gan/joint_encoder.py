"""The encoder that learns beside a generator: of BiGANs and adversarial autoencoders."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from training.config import DataConfig
from training.gan.pyramid import pyramid
from training.gan_sections import GanConfig
from training.nets.convolutional import ConvolutionalEncoder
from training.nets.dense import DenseEncoder
from training.probability.posterior import DiagonalFamily, DiagonalPosterior

Images = Float[Tensor, "batch c h w"]


class JointEncoder(nn.Module):
    """Images in [−1, 1] to latents: one of each image, or draws from a Gaussian."""

    def __init__(self, net: nn.Module, family: DiagonalFamily | None) -> None:
        """`net` makes the features of the family; without one, they are the latent."""
        super().__init__()
        self.net = net
        self.family = family

    @property
    def has_moments(self) -> bool:
        """Whether q(z|x) is a Gaussian and not one latent."""
        return self.family is not None

    def posterior(self, image: Images) -> DiagonalPosterior:
        """q(z|x). Raises TypeError where there is one latent an image."""
        if self.family is None:
            raise TypeError("this encoder is deterministic: it has no posterior")
        posterior: DiagonalPosterior = self.family(self.net(image).float())
        return posterior

    def forward(self, image: Images, noise: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """The latents that standard normal noise draws; a deterministic encoder leaves it unread."""
        if self.family is None:
            latent: Tensor = self.net(image).float()
            return latent
        return self.posterior(image).draw(noise[:, None]).latent[:, 0]

    def central(self, image: Images) -> Float[Tensor, "batch latent"]:
        """The latent of no noise."""
        return self(image, image.new_zeros(1, 1)) if self.family is None else self.posterior(image).mean


def joint_encoder(model: GanConfig, data: DataConfig) -> JointEncoder | None:
    """What a configuration describes: of the discriminator's shape without its norms; None where there is none.

    Raises ConfigError for a side that a DCGAN cannot reach.
    """
    if model.inference.kind == "none":
        return None
    family = DiagonalFamily(model.latent_size) if model.inference.posterior == "diagonal" else None
    features = model.latent_size if family is None else family.features
    shape = (data.channels, data.size, data.size)
    if model.nets == "dense":
        return JointEncoder(DenseEncoder(shape, model.hidden, features), family)
    _, coarse_to_fine = pyramid(data.size, model.discriminator_channels)
    return JointEncoder(ConvolutionalEncoder(shape, coarse_to_fine[::-1], 0, features), family)
