"""What a classifier learns from pictures whose class nobody told: that views of one picture are of one class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "batch classes"]


def agreement(logits: Logits, averaged: Logits, confidence: float) -> Float[Tensor, " batch"]:
    """log q(y|view) of the class that the averaged weights are confident of at the picture itself, and 0 where not.

    The teacher is that of Tarvainen & Valpola 2017, what it teaches that of FixMatch (Sohn et al. 2020, equation 4).
    """
    probability, label = torch.softmax(averaged, dim=1).max(dim=1)
    log_agreed = -functional.cross_entropy(logits, label, reduction="none")
    return torch.where(probability >= confidence, log_agreed, 0.0)
