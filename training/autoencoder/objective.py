"""What an autoencoder minimises: the error of the reconstruction and, where codes are to be sparse, their penalty."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from training.autoencoder.model import Autoencoder
from training.probability import bernoulli

ReconstructionKind = Literal["squared_error", "bernoulli_cross_entropy"]


class ReconstructionTerms(NamedTuple):
    """One number an image each."""

    error: Float[Tensor, " batch"]
    penalty: Float[Tensor, " batch"]

    @property
    def loss(self) -> Float[Tensor, " batch"]:
        """What is minimised."""
        return self.error + self.penalty


def squared_error(image: Float[Tensor, "batch c h w"], picture: Float[Tensor, "batch c h w"]) -> Tensor:
    """Σ (x − x̂)² of each image (B,), over all its numbers."""
    return (image - picture).square().flatten(start_dim=1).sum(dim=1)


def bernoulli_cross_entropy(image: Float[Tensor, "batch c h w"], logits: Float[Tensor, "batch c h w"]) -> Tensor:
    """−Σ x log p + (1 − x) log(1 − p) of each image (B,), in nats.

    On binary pixels it is −log p(x|z). On grey ones it is not a likelihood: its least value is not zero, and p(x|z)
    does not add up to one.
    """
    return -bernoulli.log_mass(image, logits).flatten(start_dim=1).sum(dim=1)


def reconstruction_terms(
    net: Autoencoder,
    clean: Float[Tensor, "batch c h w"],
    seen: Float[Tensor, "batch c h w"],
    *,
    kind: ReconstructionKind,
    active: int | None = None,
) -> ReconstructionTerms:
    """The terms of each image, encoded as it was `seen`, held against the `clean` one (Vincent et al. 2008)."""
    code = net.encode(seen, active=active)
    output = net.decoder(code).float()
    error = squared_error if kind == "squared_error" else bernoulli_cross_entropy
    return ReconstructionTerms(error(clean, output), net.code.penalty(code))
