from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from training.loops.averaging import WeightAverage


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_average_follows_its_recursion_with_the_early_ramp(decay: float) -> None:
    net = nn.Linear(2, 1)
    average, expected = WeightAverage(net, decay), net.weight.detach().clone()
    for step in range(30):
        _move(net)
        average.update(net, step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * net.weight.detach()
    assert_close(average.average.weight.detach(), expected)


def test_without_decay_the_average_is_the_net_itself() -> None:
    net = nn.Linear(2, 1)
    average = WeightAverage(net, 0.0)
    _move(net)
    average.update(net, 1000)
    assert torch.equal(average.average.weight, net.weight)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, 0.5)
    net(torch.randn(8, 2) + 5)
    average.update(net, 1000)
    assert_close(average.average.running_mean, net.running_mean / 2)
    assert torch.equal(average.average.num_batches_tracked, net.num_batches_tracked)


def test_average_only_answers() -> None:
    average = WeightAverage(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 0.9).average
    assert not average.training
    assert not [weight for weight in average.parameters() if weight.requires_grad]


def _move(net: nn.Linear) -> None:
    with torch.no_grad():
        net.weight += torch.randn_like(net.weight)
