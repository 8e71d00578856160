"""Invertible maps with known volume change: the steps of a RealNVP flow.

Every step maps rows (*batch, D) to rows (*batch, D) and says log|det ∂y/∂x| of each, in nats. A prior's flow read
forwards turns codes into noise, which is the direction that densities need; `inverse` turns noise into codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
"""Of the leaky ReLU in the coupling networks."""
OPEN_GATE = 2.0
"""Added to a coupling's gate before the sigmoid, so that it starts near 0.88 and the step near the identity."""


class Mapped(NamedTuple):
    """Where a step sends its rows, and log|det ∂y/∂x| there, in nats."""

    value: Float[Tensor, "*batch size"]
    log_determinant: Float[Tensor, "*batch"]


class FlowStep(nn.Module, ABC):
    """One invertible map."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "*batch size"], context: Tensor | None = None) -> Mapped:
        """y and log|det ∂y/∂x|; `context` is what a conditional step may look at besides."""

    @abstractmethod
    def inverse(self, y: Float[Tensor, "*batch size"], context: Tensor | None = None) -> Tensor:
        """The x that `forward` sends to y."""

    def settled(self) -> FlowStep:
        """The same map with what follows from its weights alone computed once: what is exported."""
        return self


class ActNorm(FlowStep):
    """y = (x + shift) · exp(log_scale), a number of each for every dimension (Kingma & Dhariwal 2018, section 3.1).

    It starts as the identity, not from a first batch: the codes are learned and move towards it as well.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(size))
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """log|det| = Σ log_scale, the same for every row."""
        return Mapped((x + self.shift) * torch.exp(self.log_scale), self.log_scale.sum().expand(x.shape[:-1]))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x = y · exp(−log_scale) − shift."""
        return y * torch.exp(-self.log_scale) - self.shift


class AffineCoupling(FlowStep):
    """The second half of the numbers, shifted and scaled by what the first half, and a context, say (Dinh et al. 2017).

    y₂ = (x₂ + shift(x₁)) · gate(x₁) with gate = sigmoid(· + 2), which is bounded: the map cannot blow up. The last
    layer starts at zero, so that every row is treated alike at first.
    """

    def __init__(self, size: int, hidden: int, *, context: int = 0) -> None:
        super().__init__()
        self.kept = size // 2
        self.moved = size - self.kept
        last = nn.Linear(hidden, 2 * self.moved)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.body = nn.Sequential(
            nn.Linear(self.kept + context, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(SLOPE),
            last,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """log|det| = Σ log gate."""
        kept, moved = x.split([self.kept, self.moved], dim=-1)
        shift, opening = self._shift_and_opening(kept, context)
        value = torch.cat([kept, (moved + shift) * torch.sigmoid(opening)], dim=-1)
        return Mapped(value, functional.logsigmoid(opening).sum(dim=-1))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x₂ = y₂ / gate − shift."""
        kept, moved = y.split([self.kept, self.moved], dim=-1)
        shift, opening = self._shift_and_opening(kept, context)
        return torch.cat([kept, moved / torch.sigmoid(opening) - shift], dim=-1)

    def _shift_and_opening(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = kept if context is None else torch.cat([kept, context], dim=-1)
        # Where the net runs in half precision, gate and log gate are still of one number, in full.
        shift, opening = self.body(seen).to(kept.dtype).chunk(2, dim=-1)
        return shift, opening + OPEN_GATE


class LinearMap(FlowStep):
    """y = W x with a free square matrix that starts as a rotation (Kingma & Dhariwal 2018, section 3.2)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(size, size)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """log|det W|, the same for every row."""
        log_determinant = torch.linalg.slogdet(self.weight).logabsdet
        return Mapped(functional.linear(x, self.weight), log_determinant.expand(x.shape[:-1]))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x = W⁻¹ y."""
        return functional.linear(y, torch.linalg.inv(self.weight))

    def settled(self) -> FlowStep:
        """With W⁻¹ and log|det W| as constants, computed in double precision."""
        return SettledLinearMap(self.weight.detach())


class SettledLinearMap(FlowStep):
    """A linear map whose inverse and determinant are known."""

    weight: Tensor
    inverse_weight: Tensor
    log_determinant: Tensor

    def __init__(self, weight: Float[Tensor, "size size"]) -> None:
        super().__init__()
        precise = weight.double()
        self.register_buffer("weight", weight)
        self.register_buffer("inverse_weight", torch.linalg.inv(precise).to(weight.dtype))
        self.register_buffer("log_determinant", torch.linalg.slogdet(precise).logabsdet.to(weight.dtype))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """W x and the constant."""
        return Mapped(functional.linear(x, self.weight), self.log_determinant.expand(x.shape[:-1]))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """W⁻¹ y."""
        return functional.linear(y, self.inverse_weight)


class Reversal(FlowStep):
    """The numbers in reverse order, so that the next coupling moves what this one kept."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """No volume changes."""
        return Mapped(x.flip(-1), x.new_zeros(x.shape[:-1]))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Reversed once more."""
        return y.flip(-1)


class Flow(FlowStep):
    """Steps one after another; their log determinants add up."""

    def __init__(self, steps: Iterable[FlowStep]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """Through all steps, first to last."""
        total = x.new_zeros(x.shape[:-1])
        for step in self.steps:
            x, log_determinant = step(x, context)
            total = total + log_determinant
        return Mapped(x, total)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Through all steps, last to first."""
        for step in reversed(self.steps):
            y = cast(FlowStep, step).inverse(y, context)
        return y

    def settled(self) -> Flow:
        """Every step settled."""
        return Flow([cast(FlowStep, step).settled() for step in self.steps])


def real_nvp(size: int, couplings: int, hidden: int) -> Flow:
    """`couplings` × [act norm, affine coupling, linear map], as a prior takes them (Xu et al., arXiv:1905.13452)."""
    steps: list[FlowStep] = []
    for _ in range(couplings):
        steps += [ActNorm(size), AffineCoupling(size, hidden), LinearMap(size)]
    return Flow(steps)
