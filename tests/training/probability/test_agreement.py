"""Agreement of views: with what is sure alone, and with each class as often."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from training.probability.agreement import SHARES_DECAY, EvenClasses, agreement


def test_agreement_is_with_the_confident_class_alone() -> None:
    logits = torch.tensor([[0.2, -0.4, 0.9], [1.0, 2.0, 0.5]])
    averaged = torch.tensor([[0.0, 5.0, 0.0], [0.3, 0.2, 0.1]])  # sure of class 1; unsure
    expected = [float(logits[0].log_softmax(0)[1]), 0.0]
    assert_close(agreement(logits, averaged.softmax(1), 0.9), torch.tensor(expected))


def test_first_batch_is_divided_by_a_mean_that_has_hardly_moved() -> None:
    said = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    mean = SHARES_DECAY / 3 + (1 - SHARES_DECAY) * torch.tensor([0.6, 0.25, 0.15])
    even = EvenClasses(3, torch.device("cpu"))
    assert_close(even.turned(said), torch.stack([row / mean / (row / mean).sum() for row in said]))
    assert_close(even.shares, mean)


def test_favourite_class_is_said_less_often() -> None:
    noise = torch.Generator().manual_seed(0)
    even = EvenClasses(3, torch.device("cpu"))
    favour = torch.tensor([2.0, 0.0, -1.0])
    batches = [torch.softmax(2 * torch.randn(500, 3, generator=noise) + favour, dim=1) for _ in range(400)]
    turned = [even.turned(batch).mean(dim=0) for batch in batches]
    before, after = torch.stack(batches[-100:]).mean(dim=(0, 1)), torch.stack(turned[-100:]).mean(dim=0)
    assert float(after.max() / after.min()) < float(before.max() / before.min()) / 2
    assert int(before.argmax()) == 0
