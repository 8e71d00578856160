"""What a classifier learns from pictures whose class nobody told: that views of one picture are of one class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "batch classes"]
Probabilities = Float[Tensor, "batch classes"]

SHARES_DECAY = 0.98
"""Of the running mean of what a classifier says: it forgets a batch after some fifty."""


class EvenClasses:
    """Turns class probabilities so that over many batches the classes are said more nearly as often as each other.

    Distribution alignment (Berthelot et al. 2020, ReMixMatch, section 3.1) towards even classes: each probability is
    divided by its class's running mean before that. Without it a classifier of few labels teaches itself its
    favourite classes.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.shares: Float[Tensor, " classes"] = torch.full((classes,), 1 / classes, device=device)

    def turned(self, probabilities: Probabilities) -> Probabilities:
        """Take a batch into the running mean, and return it evened out: rows sum to 1."""
        self.shares = self.shares.lerp(probabilities.mean(dim=0), 1 - SHARES_DECAY)
        weighed = probabilities / self.shares
        return weighed / weighed.sum(dim=1, keepdim=True)


def agreement(logits: Logits, told: Probabilities, confidence: float) -> Float[Tensor, " batch"]:
    """log q(y|view) of the class that a teacher is confident of at the picture itself, and 0 where it is of none.

    The teacher, which told these probabilities, has averaged weights (Tarvainen & Valpola 2017); what it teaches is
    that of FixMatch (Sohn et al. 2020, equation 4).
    """
    probability, label = told.max(dim=1)
    log_agreed = -functional.cross_entropy(logits, label, reduction="none")
    return torch.where(probability >= confidence, log_agreed, 0.0)
