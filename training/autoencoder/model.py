"""The autoencoder: an encoder that gives each image a code, and a decoder that makes the image of a code.

With linear nets and squared error its minimum is principal component analysis: the decoder's columns span the space of
the first D principal components, and there is no other local minimum (Bourlard & Kamp 1988; Baldi & Hornik 1989). Only
the space is that of PCA: within it the axes are neither orthogonal nor ordered. With deep nets the same objective bends
that plane into a curved surface, which is nonlinear principal component analysis (Kramer 1991).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from training.autoencoder.code import Code, make_code
from training.config import AutoencoderConfig, DataConfig
from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from training.nets.dense import DenseDecoder, DenseEncoder, ImageShape
from training.nets.linear import LinearDecoder, LinearEncoder
from training.probability.prior import Prior


class Autoencoder(nn.Module):
    """Encoder, rule for the code, decoder. It is no generative model until a density of its codes is known.

    That density, where one was fitted, is `density`: of the encoder's features, before the rule. Where a rule sets most
    numbers of a code to zero, codes lie on planes without volume and have no density themselves.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code: Code, *, gives_logits: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.code = code
        self.gives_logits = gives_logits
        self.density: Prior | None = None

    @classmethod
    def from_config(cls, config: AutoencoderConfig, data: DataConfig) -> Autoencoder:
        """The model that an experiment describes, freshly initialised from torch's global generator."""
        encoder, decoder = _nets(config, (data.channels, data.size, data.size))
        if config.sparsity.kind == "l1":
            parametrize.register_parametrization(decoder.get_submodule("head"), "weight", UnitColumns())
        logits = config.reconstruction == "bernoulli_cross_entropy"
        return cls(encoder, decoder, make_code(config.sparsity), gives_logits=logits)

    def features(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch size"]:
        """What the encoder says of each image, pixels in [0, 1], before the rule for the code."""
        features: Tensor = self.encoder(image).float()
        return features

    def encode(self, image: Float[Tensor, "batch c h w"], active: int | None = None) -> Float[Tensor, "batch size"]:
        """The code of each image; `active` is `Code.forward`'s."""
        code: Tensor = self.code(self.features(image), active)
        return code

    def decode(self, code: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        """The image of each code: pixels in [0, 1] of logits; else as near to it as the decoder came."""
        output: Tensor = self.decoder(code).float()
        return torch.sigmoid(output) if self.gives_logits else output

    def from_noise(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        """The codes that the fitted density makes of standard normal noise of its size."""
        if self.density is None:
            raise TypeError("no density was fitted to the codes of this autoencoder")
        code: Tensor = self.code(self.density.from_noise(noise))
        return code

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Each image, encoded and decoded."""
        return self.decode(self.encode(image))


class UnitColumns(nn.Module):
    """A matrix with columns of length one: without it a decoder would make an l1 penalty small by growing."""

    def forward(self, weight: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """Each column over its length."""
        return functional.normalize(weight, dim=0)


def _nets(config: AutoencoderConfig, shape: ImageShape) -> tuple[nn.Module, nn.Module]:
    match config.nets:
        case "linear":
            return LinearEncoder(shape, config.latent_size), LinearDecoder(shape, config.latent_size)
        case "dense":
            return (
                DenseEncoder(shape, config.hidden, config.latent_size),
                DenseDecoder(shape, config.hidden, config.latent_size),
            )
        case "convolutional":
            return (
                ConvolutionalEncoder(shape, config.channels, config.residual_blocks, config.latent_size),
                ConvolutionalDecoder(shape, config.channels, config.residual_blocks, config.latent_size),
            )
