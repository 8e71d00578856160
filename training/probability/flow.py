"""Invertible maps with known volume change: the steps of a RealNVP flow.

Every step maps rows (*batch, D) to rows (*batch, D) and says log|det ∂y/∂x| of each, in nats. A prior's flow read
forwards turns codes into noise, which is the direction that densities need; `inverse` turns noise into codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from training.nets.adjoint import NoAdjoint, linearise

SLOPE = 0.1
"""Of the leaky ReLU in the coupling networks."""
OPEN_GATE = 2.0
"""Added to a coupling's gate before the sigmoid, so that it starts near 0.88 and the step near the identity."""


class Mapped(NamedTuple):
    """Where a step sends its rows, and log|det ∂y/∂x| there, in nats."""

    value: Float[Tensor, "*batch size"]
    log_determinant: Float[Tensor, "*batch"]


class MappedWithAdjoint(NamedTuple):
    """Where a step sends its rows, and how cotangents come back from there."""

    mapped: Mapped
    pullback: Callable[[Tensor], Tensor]
    """c ↦ ∇ₓ (c · y + log|det ∂y/∂x|), by row: the volume change has a gradient of its own."""


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

    def with_adjoint(self, x: Float[Tensor, "*batch size"]) -> MappedWithAdjoint:
        """`forward` without context, and its adjoint. Raises NoAdjoint where that is not known."""
        raise NoAdjoint(f"the adjoint of {type(self).__name__} is not known: give it a `with_adjoint`")


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

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """Scaled as the values are; the volume change is the same everywhere."""
        return MappedWithAdjoint(self(x), lambda cotangent: cotangent * torch.exp(self.log_scale))


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
        return _coupled(kept, moved, shift, opening)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x₂ = y₂ / gate − shift."""
        kept, moved = y.split([self.kept, self.moved], dim=-1)
        shift, opening = self._shift_and_opening(kept, context)
        return torch.cat([kept, moved / torch.sigmoid(opening) - shift], dim=-1)

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """With gate' = gate (1 − gate) and (log gate)' = 1 − gate; what the first half decided comes back to it."""
        kept, moved = x.split([self.kept, self.moved], dim=-1)
        parameters, through_body = linearise(self.body, kept)
        shift, unbiased = parameters.chunk(2, dim=-1)
        opening = unbiased + OPEN_GATE
        gate, shut = torch.sigmoid(opening), torch.sigmoid(-opening)

        def pullback(cotangent: Tensor) -> Tensor:
            of_kept, of_moved = cotangent.split([self.kept, self.moved], dim=-1)
            of_shift = of_moved * gate
            of_opening = (of_shift * (moved + shift) + 1) * shut
            return torch.cat([of_kept + through_body(torch.cat([of_shift, of_opening], dim=-1)), of_shift], dim=-1)

        return MappedWithAdjoint(_coupled(kept, moved, shift, opening), pullback)

    def _shift_and_opening(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = kept if context is None else torch.cat([kept, context], dim=-1)
        # Where the net runs in half precision, gate and log gate are still of one number, in full.
        shift, opening = self.body(seen).to(kept.dtype).chunk(2, dim=-1)
        return shift, opening + OPEN_GATE


def _coupled(kept: Tensor, moved: Tensor, shift: Tensor, opening: Tensor) -> Mapped:
    value = torch.cat([kept, (moved + shift) * torch.sigmoid(opening)], dim=-1)
    return Mapped(value, functional.logsigmoid(opening).sum(dim=-1))


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

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """By Wᵀ."""
        return MappedWithAdjoint(self(x), lambda cotangent: cotangent @ self.weight)


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

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """By Wᵀ."""
        return MappedWithAdjoint(self(x), lambda cotangent: cotangent @ self.weight)


class Reversal(FlowStep):
    """The numbers in reverse order, so that the next coupling moves what this one kept."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Mapped:
        """No volume changes."""
        return Mapped(x.flip(-1), x.new_zeros(x.shape[:-1]))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Reversed once more."""
        return y.flip(-1)

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """Reversed too."""
        return MappedWithAdjoint(self(x), lambda cotangent: cotangent.flip(-1))


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

    def with_adjoint(self, x: Tensor) -> MappedWithAdjoint:
        """The chain rule: pullbacks last to first, each adding its own volume change's gradient."""
        total, pullbacks = x.new_zeros(x.shape[:-1]), []
        for step in self.steps:
            (x, log_determinant), pullback = cast(FlowStep, step).with_adjoint(x)
            total = total + log_determinant
            pullbacks.append(pullback)

        def through_all(cotangent: Tensor) -> Tensor:
            for pullback in reversed(pullbacks):
                cotangent = pullback(cotangent)
            return cotangent

        return MappedWithAdjoint(Mapped(x, total), through_all)

    def settled(self) -> Flow:
        """Every step settled."""
        return Flow([cast(FlowStep, step).settled() for step in self.steps])


def real_nvp(size: int, couplings: int, hidden: int) -> Flow:
    """`couplings` × [act norm, affine coupling, linear map], as a prior takes them (Xu et al., arXiv:1905.13452)."""
    steps: list[FlowStep] = []
    for _ in range(couplings):
        steps += [ActNorm(size), AffineCoupling(size, hidden), LinearMap(size)]
    return Flow(steps)
