"""A mixture of Gaussians with full covariances: what is fitted to the codes of an autoencoder afterwards."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from training.probability import gaussian
from training.probability.prior import Prior, component_thresholds


class FullCovarianceMixture(Prior):
    """Σ wₖ N(meanₖ, Lₖ Lₖᵀ); the noise's first number chooses the component. Nothing of it is learned by gradients."""

    kind = "mixture"
    selectors = 1
    means: Tensor
    factors: Tensor
    log_weights: Tensor
    bounds: Tensor

    def __init__(
        self,
        means: Float[Tensor, "components size"],
        factors: Float[Tensor, "components size size"],
        log_weights: Float[Tensor, " components"],
    ) -> None:
        """`factors` are the Cholesky factors Lₖ of the covariances: lower triangles with a positive diagonal."""
        super().__init__(means.shape[1])
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("bounds", component_thresholds(log_weights).to(means.dtype))

    @classmethod
    def unfitted(cls, components: int, latent_size: int) -> FullCovarianceMixture:
        """Equally weighted standard normals: the shape that a fitted mixture's state is read into."""
        factors = torch.eye(latent_size).repeat(components, 1, 1)
        weights = torch.full((components,), -math.log(components))
        return cls(torch.zeros(components, latent_size), factors, weights)

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log Σ wₖ N(z; meanₖ, Lₖ Lₖᵀ), with u = Lₖ⁻¹ (z − meanₖ): log N(u; 0, I) − log det Lₖ."""
        centred = (latent[..., None, :] - self.means).unsqueeze(-1)  # (*batch, components, size, 1)
        white = torch.linalg.solve_triangular(self.factors, centred, upper=False).squeeze(-1)
        log_determinants = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        each = gaussian.standard_log_density(white) - log_determinants
        return torch.logsumexp(each + self.log_weights, dim=-1)

    def from_noise(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        """meanₖ + Lₖ times the noise behind the first number, k as the first number chooses."""
        chosen = (noise[:, :1] > self.bounds).sum(dim=-1)
        return self.means[chosen] + torch.matmul(self.factors[chosen], noise[:, 1:, None]).squeeze(-1)
