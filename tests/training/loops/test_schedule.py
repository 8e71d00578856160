from __future__ import annotations

import numpy as np
import pytest
import torch

from training.loops.schedule import seed_layers, step_generator


def test_step_generator_depends_on_seed_and_step_alone() -> None:
    assert torch.equal(_draw(3, 7), _draw(3, 7))
    draws = {tuple(_draw(seed, step).tolist()) for seed in (0, 1, 2**31 - 1) for step in (0, 1, 2**31)}
    assert len(draws) == 9


@pytest.mark.parametrize("step", [0, 7])
def test_layers_draw_nothing_that_the_step_draws(step: int) -> None:
    seed_layers(3, step)
    both = torch.randn(4096), torch.randn(4096, generator=step_generator(3, step))
    assert np.corrcoef(*both)[0, 1] == pytest.approx(0, abs=4 / 64)  # four standard deviations
    assert len(set(both[0].tolist()) & set(both[1].tolist())) < 20  # nor elsewhere, but by chance of 24 bits


def test_layers_draw_by_seed_and_step_alone() -> None:
    drawn = []
    for seed, step in [(3, 7), (3, 7), (3, 8), (4, 7)]:
        seed_layers(seed, step)
        drawn.append(tuple(torch.randn(4).tolist()))
    assert drawn[0] == drawn[1]
    assert len({*drawn}) == 3


def test_step_generator_starts_from_both_numbers_mixed() -> None:
    """Other draws than these would be other weights from an old configuration."""
    mixed = int(np.random.SeedSequence([3, 7]).generate_state(1)[0])
    assert torch.equal(_draw(3, 7), torch.randn(4, generator=torch.Generator().manual_seed(mixed)))


def _draw(seed: int, step: int) -> torch.Tensor:
    return torch.randn(4, generator=step_generator(seed, step))
