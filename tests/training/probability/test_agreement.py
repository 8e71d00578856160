"""Agreement of views: with what is sure alone."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from training.probability.agreement import agreement


def test_agreement_is_with_the_confident_class_alone() -> None:
    logits = torch.tensor([[0.2, -0.4, 0.9], [1.0, 2.0, 0.5]])
    averaged = torch.tensor([[0.0, 5.0, 0.0], [0.3, 0.2, 0.1]])  # sure of class 1; unsure
    expected = [float(logits[0].log_softmax(0)[1]), 0.0]
    assert_close(agreement(logits, averaged, 0.9), torch.tensor(expected))
