"""q(z|x): what the encoder's features mean. Each posterior turns noise into draws and knows their density, in nats."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.config import PosteriorConfig
from training.probability import gaussian
from training.probability.flow import AffineCoupling, Flow, FlowStep, Reversal

SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE = -7.0, 2.0
"""Of q(z|x): beyond these the exponential only makes trouble."""


class Draw(NamedTuple):
    """K draws from q(z|x) of each image, and log q(z|x) of each."""

    latent: Float[Tensor, "batch samples size"]
    log_density: Float[Tensor, "batch samples"]


class Posterior(ABC):
    """q(z|x) of a batch of images."""

    @abstractmethod
    def draw(self, noise: Float[Tensor, "batch samples size"]) -> Draw:
        """Standard normal noise as draws, differentiable in the encoder (Kingma & Welling 2014, section 2.4)."""

    @abstractmethod
    def log_density(self, latent: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples"]:
        """log q(z|x) anywhere."""

    @abstractmethod
    def held(self) -> Posterior:
        """The same distribution, through which no gradient reaches the encoder."""

    @abstractmethod
    def central(self) -> Float[Tensor, "batch size"]:
        """The draw of noise zero."""


class GaussianPosterior(Posterior):
    """A posterior with moments: `mean` and `scale`, the standard deviation of each dimension by itself, both (B, D)."""

    mean: Float[Tensor, "batch size"]
    scale: Float[Tensor, "batch size"]

    def central(self) -> Float[Tensor, "batch size"]:
        """The mean."""
        return self.mean

    @abstractmethod
    def kl_to_standard_normal(self) -> Float[Tensor, " batch"]:
        """KL(q(z|x) ‖ N(0, I)) of each image."""


@dataclass(frozen=True)
class DiagonalPosterior(GaussianPosterior):
    """N(mean, scale²) with independent dimensions."""

    mean: Float[Tensor, "batch size"]
    scale: Float[Tensor, "batch size"]

    def draw(self, noise: Float[Tensor, "batch samples size"]) -> Draw:
        """z = mean + scale · noise."""
        mean, scale = self.mean[:, None], self.scale[:, None]
        return Draw(mean + scale * noise, gaussian.log_density_of_draw(noise, scale))

    def log_density(self, latent: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples"]:
        """Loses digits where the scale is small beside the mean: fit for gradients; `draw` gives the exact values."""
        return gaussian.log_density(latent, self.mean[:, None], self.scale[:, None]).sum(dim=-1)

    def held(self) -> DiagonalPosterior:
        """With mean and scale detached."""
        return DiagonalPosterior(self.mean.detach(), self.scale.detach())

    def kl_to_standard_normal(self) -> Float[Tensor, " batch"]:
        """Kingma & Welling 2014, appendix B."""
        return gaussian.kl_to_standard_normal(self.mean, self.scale)


@dataclass(frozen=True)
class FullCovariancePosterior(GaussianPosterior):
    """N(mean, L Lᵀ) with a lower triangular L of positive diagonal (Kingma & Welling 2019, section 2.5.1)."""

    mean: Float[Tensor, "batch size"]
    scale: Float[Tensor, "batch size"]
    factor: Float[Tensor, "batch size size"]

    @classmethod
    def of(cls, mean: Float[Tensor, "batch size"], factor: Float[Tensor, "batch size size"]) -> FullCovariancePosterior:
        """With the scales that follow from L: the lengths of its rows."""
        return cls(mean, torch.sqrt(factor.square().sum(dim=-1)), factor)

    def draw(self, noise: Float[Tensor, "batch samples size"]) -> Draw:
        """z = mean + L · noise."""
        latent = self.mean[:, None] + noise @ self.factor.mT
        return Draw(latent, gaussian.log_density_of_draw(noise, self._diagonal[:, None]))

    def log_density(self, latent: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples"]:
        """By solving L · noise = z − mean."""
        centred = (latent - self.mean[:, None]).mT
        noise = torch.linalg.solve_triangular(self.factor, centred, upper=False)
        return gaussian.log_density_of_draw(noise.mT, self._diagonal[:, None])

    def held(self) -> FullCovariancePosterior:
        """With mean and factor detached."""
        return FullCovariancePosterior.of(self.mean.detach(), self.factor.detach())

    def kl_to_standard_normal(self) -> Float[Tensor, " batch"]:
        """½ (tr L Lᵀ + |mean|² − D) − Σ log Lᵢᵢ."""
        squares = self.factor.square().sum(dim=(-2, -1)) + self.mean.square().sum(dim=-1)
        return 0.5 * (squares - self.mean.shape[-1]) - self._diagonal.log().sum(dim=-1)

    @property
    def _diagonal(self) -> Float[Tensor, "batch size"]:
        diagonal: Tensor = self.factor.diagonal(dim1=-2, dim2=-1)
        return diagonal


@dataclass(frozen=True)
class FlowPosterior(Posterior):
    """A diagonal Gaussian sent through a flow that looks at the image (Rezende & Mohamed 2015)."""

    base: DiagonalPosterior
    flow: Flow
    context: Float[Tensor, "batch context"]

    def central(self) -> Float[Tensor, "batch size"]:
        """Where the flow sends the base's mean: not the mean of the draws."""
        latent: Tensor = self.flow(self.base.mean, self.context).value
        return latent

    def draw(self, noise: Float[Tensor, "batch samples size"]) -> Draw:
        """The base's draws through the flow; their log density falls by how much it spreads them."""
        base = self.base.draw(noise)
        latent, log_determinant = self.flow(base.latent, self._context_of(noise))
        return Draw(latent, base.log_density - log_determinant)

    def log_density(self, latent: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples"]:
        """By sending the latents back to the base."""
        context = self._context_of(latent)
        before = self.flow.inverse(latent, context)
        log_determinant: Tensor = self.flow(before, context).log_determinant
        return self.base.log_density(before) - log_determinant

    def held(self) -> FlowPosterior:
        """With base and context detached, and a copy of the flow."""
        return FlowPosterior(
            self.base.held(), copy.deepcopy(self.flow).requires_grad_(requires_grad=False), self.context.detach()
        )

    def _context_of(self, rows: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples context"]:
        return self.context[:, None].expand(*rows.shape[:-1], -1)


class PosteriorFamily(nn.Module, ABC):
    """From the encoder's features (B, F), in full precision, to q(z|x)."""

    def __init__(self, latent_size: int, features: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.features = features

    @abstractmethod
    def forward(self, features: Float[Tensor, "batch features"]) -> Posterior:
        """The posterior that each image's features describe."""


class DiagonalFamily(PosteriorFamily):
    """Features: means, then log scales."""

    def __init__(self, latent_size: int) -> None:
        super().__init__(latent_size, 2 * latent_size)

    def forward(self, features: Float[Tensor, "batch features"]) -> DiagonalPosterior:
        """The diagonal Gaussian."""
        return _diagonal(features)


class FullCovarianceFamily(PosteriorFamily):
    """Features: means, log diagonal of L, then what lies below L's diagonal, row by row."""

    below: Tensor

    def __init__(self, latent_size: int) -> None:
        super().__init__(latent_size, 2 * latent_size + latent_size * (latent_size - 1) // 2)
        rows, columns = torch.tril_indices(latent_size, latent_size, offset=-1)
        # Where each entry of the square comes from among the features below the diagonal; the last is a zero.
        source = torch.full((latent_size, latent_size), len(rows))
        source[rows, columns] = torch.arange(len(rows))
        self.register_buffer("below", source.flatten(), persistent=False)

    def forward(self, features: Float[Tensor, "batch features"]) -> FullCovariancePosterior:
        """The Gaussian with that factor."""
        base = _diagonal(features[:, : 2 * self.latent_size])
        entries = nn.functional.pad(features[:, 2 * self.latent_size :], (0, 1))
        square = entries[:, self.below].unflatten(1, (self.latent_size, self.latent_size))
        return FullCovariancePosterior.of(base.mean, square + torch.diag_embed(base.scale))


class FlowFamily(PosteriorFamily):
    """Features: means and log scales of the base, then as many numbers of context as the latent has."""

    def __init__(self, latent_size: int, couplings: int, hidden: int) -> None:
        super().__init__(latent_size, 3 * latent_size)
        steps: list[FlowStep] = []
        for _ in range(couplings):
            steps += [AffineCoupling(latent_size, hidden, context=latent_size), Reversal()]
        self.flow = Flow(steps)

    def forward(self, features: Float[Tensor, "batch features"]) -> FlowPosterior:
        """The flow's posterior."""
        base, context = features.split([2 * self.latent_size, self.latent_size], dim=-1)
        return FlowPosterior(_diagonal(base), self.flow, context)


def make_posterior_family(config: PosteriorConfig, latent_size: int) -> PosteriorFamily:
    """The posterior that a configuration describes."""
    match config.kind:
        case "diagonal":
            return DiagonalFamily(latent_size)
        case "full_covariance":
            return FullCovarianceFamily(latent_size)
        case "flow":
            return FlowFamily(latent_size, config.couplings, config.hidden)


def _diagonal(features: Float[Tensor, "batch features"]) -> DiagonalPosterior:
    mean, log_scale = features.chunk(2, dim=-1)
    return DiagonalPosterior(mean, torch.exp(log_scale.clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)))
