"""From the encoder's features to the code: as they are, rectified, or all but the largest set to zero."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.config import SparsityConfig


class Code(nn.Module):
    """The code is the features."""

    def forward(self, features: Float[Tensor, "batch size"], active: int | None = None) -> Float[Tensor, "batch size"]:
        """The codes of features; `active` overrides how many numbers a code keeps, where the rule keeps some."""
        return features

    def penalty(self, code: Float[Tensor, "batch size"]) -> Float[Tensor, " batch"]:
        """What a code costs besides its error: nothing."""
        return code.new_zeros(len(code))


class RectifiedCode(Code):
    """max(0, features), which an l1 penalty drives to exact zeros (Olshausen & Field 1996, with an encoder)."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, features: Float[Tensor, "batch size"], active: int | None = None) -> Float[Tensor, "batch size"]:
        """Without the negative features."""
        return torch.relu(features)

    def penalty(self, code: Float[Tensor, "batch size"]) -> Float[Tensor, " batch"]:
        """weight · Σ |codeᵢ|."""
        return self.weight * code.abs().sum(dim=-1)


class TopCode(Code):
    """The k largest features; zero elsewhere: ‖code‖₀ ≤ k (Makhzani & Frey 2014, algorithm 1)."""

    def __init__(self, active: int) -> None:
        super().__init__()
        self.active = active

    def forward(self, features: Float[Tensor, "batch size"], active: int | None = None) -> Float[Tensor, "batch size"]:
        """Exactly k features of each row stay, as they are."""
        return keep_largest(features, self.active if active is None else active)


def keep_largest(features: Float[Tensor, "batch size"], active: int) -> Float[Tensor, "batch size"]:
    """The `active` largest numbers of each row in their places, zero elsewhere; gradients pass to those alone."""
    values, places = torch.topk(features, active, dim=-1)
    return torch.zeros_like(features).scatter(-1, places, values)


def active_numbers(config: SparsityConfig, latent_size: int, epoch: float) -> int:
    """How many numbers of a code training keeps at `epoch`: all at first, falling linearly to `config.active`.

    Units that are never among the few would never learn (Makhzani & Frey 2014, section 4.2.1).
    """
    passed = min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0
    return latent_size - round(passed * (latent_size - config.active))


def make_code(config: SparsityConfig) -> Code:
    """The rule that a configuration describes."""
    match config.kind:
        case "none":
            return Code()
        case "l1":
            return RectifiedCode(config.weight)
        case "top_k":
            return TopCode(config.active)
