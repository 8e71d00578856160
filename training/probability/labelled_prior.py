"""p(z|y): a mixture of Gaussians a class."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from training.probability import gaussian
from training.probability.prior import Prior

Labels = Int64[Tensor, " batch"]

SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE = -4.0, 1.0
"""Of a component: one that shrinks onto a code has a density without bound."""


class LabelledMixturePrior(Prior):
    """Σₖ w_yk N(z; mean_yk, scale_yk²) of every class y, and uniform classes: p(z) is the mixture of them all.

    The noise's first number chooses the component within the class.
    """

    kind = "mixture"
    selectors = 1

    def __init__(self, latent_size: int, classes: int, components: int) -> None:
        super().__init__(latent_size)
        self.means = nn.Parameter(0.5 * torch.randn(classes, components, latent_size))
        self.log_scales = nn.Parameter(torch.zeros(classes, components, latent_size))
        self.logits = nn.Parameter(torch.zeros(classes, components))

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return self.logits.shape[0]

    @property
    def scales(self) -> Float[Tensor, "classes components size"]:
        """The standard deviations."""
        return self.log_scales.clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE).exp()

    def log_density_by_label(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch classes"]:
        """log p(z|y) under every label; the sum over a class's components is exact."""
        each = gaussian.log_density(latent[..., None, None, :], self.means, self.scales).sum(dim=-1)
        return torch.logsumexp(each + torch.log_softmax(self.logits, dim=1), dim=-1)

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log p(z), of no label in particular."""
        return torch.logsumexp(self.log_density_by_label(latent), dim=-1) - math.log(self.classes)

    def from_noise(
        self, noise: Float[Tensor, "batch noise"], label: Labels | None = None
    ) -> Float[Tensor, "batch size"]:
        """Latents of the given classes: their chosen component's Gaussian at the noise behind the first number.

        Without labels the classes take turns, and the latents are a sample of p(z).
        """
        if label is None:
            label = torch.arange(len(noise), device=noise.device) % self.classes
        chosen = (noise[:, :1] > self.thresholds()[label]).sum(dim=-1)
        row = label * self.logits.shape[1] + chosen
        return self.means.flatten(0, 1)[row] + self.scales.flatten(0, 1)[row] * noise[:, 1:]

    def thresholds(self) -> Float[Tensor, "classes less_one"]:
        """Where the first number, standard normal, passes from one component to the next: Φ⁻¹(w₁ + … + wₖ)."""
        cumulative = torch.softmax(self.logits.double(), dim=1).cumsum(dim=1)[:, :-1]
        thresholds: Tensor = torch.special.ndtri(cumulative)
        return thresholds.to(self.means.dtype)

    def settled(self) -> LabelledMixturePrior:
        """With the thresholds as constants: no graph has an operator for them."""
        return _SettledLabelledMixturePrior(self)


class _SettledLabelledMixturePrior(LabelledMixturePrior):
    bounds: Tensor

    def __init__(self, prior: LabelledMixturePrior) -> None:
        super().__init__(prior.latent_size, *prior.logits.shape)
        self.load_state_dict(prior.state_dict())
        self.requires_grad_(False).register_buffer("bounds", prior.thresholds().detach())

    def thresholds(self) -> Float[Tensor, "classes less_one"]:
        return self.bounds
