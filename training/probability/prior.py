"""p(z): each prior knows its density, in nats, and turns standard normal noise into latents."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from app.manifest import PriorKind
from training.config import PriorConfig
from training.nets.adjoint import NoAdjoint
from training.nets.dense import ImageShape
from training.probability import gaussian
from training.probability.flow import Flow, real_nvp
from training.probability.posterior import DiagonalPosterior, Posterior

Encode = Callable[[Float[Tensor, "batch c h w"]], Posterior]


class Components(NamedTuple):
    """Of a mixture: weights that add up to one, in logarithms, and the moments of each Gaussian."""

    means: Float[Tensor, "components size"]
    scales: Float[Tensor, "components size"]
    log_weights: Float[Tensor, " components"]


class DensityWithGradient(NamedTuple):
    """log p(z) and its gradient in z, in nats."""

    log_density: Float[Tensor, "*batch"]
    gradient: Float[Tensor, "*batch size"]


class Prior(nn.Module, ABC):
    """p(z) over latents of `latent_size` numbers, from `noise_size` numbers of noise.

    The first `selectors` numbers of the noise only choose a component: scaling them would mean nothing.
    """

    kind: PriorKind
    selectors = 0

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    @property
    def noise_size(self) -> int:
        """Numbers of noise behind one latent."""
        return self.selectors + self.latent_size

    @abstractmethod
    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log p(z)."""

    @abstractmethod
    def from_noise(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        """The latents that standard normal noise becomes: distributed as p(z)."""

    def with_gradient(self, latent: Float[Tensor, "*batch size"]) -> DensityWithGradient:
        """log p(z) and ∇ log p(z), written out so that both export. Raises NoAdjoint where that is not known."""
        raise NoAdjoint(f"the gradient of {type(self).__name__} is not known: give it a `with_gradient`")

    def settled(self) -> Prior:
        """The same prior with what follows from its weights alone computed once: what is exported."""
        return self


class StandardNormalPrior(Prior):
    """N(0, I): the latent is the noise."""

    kind = "standard_normal"

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """Σ log N(zᵢ; 0, 1)."""
        return gaussian.standard_log_density(latent)

    def with_gradient(self, latent: Float[Tensor, "*batch size"]) -> DensityWithGradient:
        """∇ log p(z) = −z."""
        return DensityWithGradient(self.log_density(latent), -latent)

    def from_noise(self, noise: Float[Tensor, "batch size"]) -> Float[Tensor, "batch size"]:
        """The noise itself."""
        return noise


class FlowPrior(Prior):
    """What becomes standard normal when a flow reads it (Dinh et al. 2017; for codes Chen et al. 2017)."""

    kind = "flow"

    def __init__(self, latent_size: int, flow: Flow) -> None:
        super().__init__(latent_size)
        self.flow = flow

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log N(f(z); 0, I) + log|det ∂f/∂z|, in single precision even where the nets run in half."""
        if torch.is_autocast_enabled(latent.device.type):
            with torch.autocast(latent.device.type, enabled=False):
                return self.log_density(latent.float())
        noise, log_determinant = self.flow(latent)
        log_density: Tensor = gaussian.standard_log_density(noise) + log_determinant
        return log_density

    def with_gradient(self, latent: Float[Tensor, "*batch size"]) -> DensityWithGradient:
        """∇ log p(z) = (∂f/∂z)ᵀ (−f(z)) + ∇ log|det ∂f/∂z|."""
        (noise, log_determinant), pullback = self.flow.with_adjoint(latent)
        return DensityWithGradient(gaussian.standard_log_density(noise) + log_determinant, pullback(-noise))

    def from_noise(self, noise: Float[Tensor, "batch size"]) -> Float[Tensor, "batch size"]:
        """f⁻¹(noise)."""
        return self.flow.inverse(noise)

    def to_noise(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """f(z): the noise that becomes this latent."""
        noise: Tensor = self.flow(latent).value
        return noise

    def settled(self) -> Prior:
        """With every linear map's inverse and determinant as constants."""
        return FlowPrior(self.latent_size, self.flow.settled())


class MixturePrior(Prior):
    """Σ wₖ N(meanₖ, scaleₖ²) of diagonal Gaussians; the noise's first number chooses the component."""

    selectors = 1

    @abstractmethod
    def components(self) -> Components:
        """The Gaussians and their weights."""

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log Σ wₖ N(z; meanₖ, scaleₖ²)."""
        return torch.logsumexp(self.log_joint(latent), dim=-1)

    def log_joint(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch components"]:
        """log p(z, k) = log wₖ + log N(z; meanₖ, scaleₖ²) of every component k."""
        means, scales, log_weights = self.components()
        each = gaussian.log_density(latent[..., None, :], means, scales).sum(dim=-1)
        return each + log_weights

    def with_gradient(self, latent: Float[Tensor, "*batch size"]) -> DensityWithGradient:
        """∇ log p(z) = Σ rₖ (meanₖ − z) / scaleₖ², with the responsibilities rₖ = p(k|z)."""
        means, scales, log_weights = self.components()
        standardised = (means - latent[..., None, :]) / scales  # (*batch, components, size)
        each = (-0.5 * standardised.square() - torch.log(scales) - 0.5 * gaussian.LOG_2PI).sum(dim=-1) + log_weights
        responsibilities = torch.softmax(each, dim=-1)
        gradient = (responsibilities[..., None] * standardised / scales).sum(dim=-2)
        return DensityWithGradient(torch.logsumexp(each, dim=-1), gradient)

    def from_noise(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        """The chosen component's Gaussian at the noise behind the first number."""
        means, scales, _ = self.components()
        chosen = (noise[:, :1] > self.thresholds()).sum(dim=-1)
        return means[chosen] + scales[chosen] * noise[:, 1:]

    def thresholds(self) -> Float[Tensor, " less_one"]:
        """Where the first number, standard normal, passes from one component to the next: Φ⁻¹(w₁ + … + wₖ)."""
        return component_thresholds(self.components().log_weights).to(self.components().means.dtype)

    def settled(self) -> Prior:
        """With components and thresholds as constants."""
        return SettledMixturePrior(self)


class GaussianMixturePrior(MixturePrior):
    """A mixture whose means, scales and weights are learned."""

    kind = "mixture"

    def __init__(self, latent_size: int, components: int) -> None:
        super().__init__(latent_size)
        self.means = nn.Parameter(torch.randn(components, latent_size))
        self.log_scales = nn.Parameter(torch.zeros(components, latent_size))
        self.logits = nn.Parameter(torch.zeros(components))

    def components(self) -> Components:
        """As learned; the weights are a softmax."""
        return Components(self.means, torch.exp(self.log_scales), torch.log_softmax(self.logits, dim=0))


class VampPrior(MixturePrior):
    """The posteriors of learned pictures, equally weighted (Tomczak & Welling 2018, equation 9)."""

    kind = "vamp"

    def __init__(self, latent_size: int, pictures: Float[Tensor, "components c h w"], encode: Encode) -> None:
        """`pictures` before a sigmoid, at the start; `encode` is the model's own encoder, whose weights stay there."""
        super().__init__(latent_size)
        self.pictures = nn.Parameter(pictures)
        self._encode = encode

    def components(self) -> Components:
        """The encoder's answers to the pictures."""
        posterior = self._encode(torch.sigmoid(self.pictures))
        if not isinstance(posterior, DiagonalPosterior):
            raise TypeError(f"a VampPrior is a mixture of diagonal Gaussians, not of {type(posterior).__name__}s")
        count = len(self.pictures)
        return Components(posterior.mean, posterior.scale, posterior.mean.new_full((count,), -math.log(count)))


class SettledMixturePrior(MixturePrior):
    """A mixture whose components are constants."""

    means: Tensor
    scales: Tensor
    log_weights: Tensor
    bounds: Tensor

    def __init__(self, mixture: MixturePrior) -> None:
        super().__init__(mixture.latent_size)
        self.kind = mixture.kind
        with torch.no_grad():
            for name, part in mixture.components()._asdict().items():
                self.register_buffer(name, part)
            self.register_buffer("bounds", mixture.thresholds())

    def components(self) -> Components:
        """The constants."""
        return Components(self.means, self.scales, self.log_weights)

    def thresholds(self) -> Float[Tensor, " less_one"]:
        """The constants."""
        return self.bounds


def component_thresholds(log_weights: Float[Tensor, " components"]) -> Float[Tensor, " less_one"]:
    """Where a standard normal number passes from one component to the next, in double precision: Φ⁻¹(w₁ + … + wₖ)."""
    thresholds: Tensor = torch.special.ndtri(log_weights.double().exp().cumsum(dim=0)[:-1])
    return thresholds


def make_prior(config: PriorConfig, latent_size: int, image_shape: ImageShape, encode: Encode) -> Prior:
    """The prior that a configuration describes, freshly initialised from torch's global generator."""
    match config.kind:
        case "standard_normal":
            return StandardNormalPrior(latent_size)
        case "flow":
            return FlowPrior(latent_size, real_nvp(latent_size, config.couplings, config.hidden))
        case "mixture":
            return GaussianMixturePrior(latent_size, config.components)
        case "vamp":
            return VampPrior(latent_size, torch.randn(config.components, *image_shape), encode)
