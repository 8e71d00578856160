"""p(x|z): what the decoder's output means. Each likelihood owns its mean, its log density and its unit."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from app.manifest import Likelihood as LikelihoodSpec
from app.manifest import LikelihoodKind
from training.probability import bernoulli, gaussian

SMALLEST_SCALE = 1 / 256
"""A Gaussian narrower than one 8-bit step would score the rounding of the pixels, not the picture."""


class Likelihood(nn.Module):
    """p(x|z) given the decoder's output, pixels in [0, 1]."""

    spec: LikelihoodSpec

    def mean(self, output: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c h w"]:
        """E[x|z]: the picture that is shown."""
        return torch.sigmoid(output)

    def log_density(
        self, x: Float[Tensor, "*batch c h w"], output: Float[Tensor, "*batch c h w"]
    ) -> Float[Tensor, "*batch"]:
        """log p(x|z) per example, in nats; `x` and `output` broadcast over the leading axes."""
        return self._per_pixel(x, output.float()).flatten(start_dim=-3).sum(dim=-1)

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} has no density of its own: use one of its subclasses")


class BernoulliLikelihood(Likelihood):
    """Binary pixels; the decoder gives logits."""

    spec = LikelihoodSpec(kind="bernoulli", nats_of="probability of a binary image", discrete=True)

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        return bernoulli.log_mass(x, output)


class GaussianLikelihood(Likelihood):
    """Pixels in [0, 1] around a sigmoid mean, with one learned scale for all of them (Rybkin et al. 2021, σ-VAE).

    A density of pixel values: its nats have either sign and do not compare with those of a discrete model.
    """

    spec = LikelihoodSpec(kind="gaussian", nats_of="density of pixels in [0, 1]", discrete=False)

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The learned standard deviation of a pixel, never below one 8-bit step."""
        return torch.exp(self.log_scale) + SMALLEST_SCALE

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        return gaussian.log_density(x, self.mean(output), self.scale)


def make_likelihood(kind: LikelihoodKind) -> Likelihood:
    """The likelihood that a configuration names."""
    match kind:
        case "bernoulli":
            return BernoulliLikelihood()
        case "gaussian":
            return GaussianLikelihood()
