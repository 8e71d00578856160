from __future__ import annotations

import torch

from training.loops.schedule import step_generator


def test_step_generator_depends_on_seed_and_step_alone() -> None:
    assert torch.equal(_draw(3, 7), _draw(3, 7))
    draws = {tuple(_draw(seed, step).tolist()) for seed in (0, 1, 2**31 - 1) for step in (0, 1, 2**31)}
    assert len(draws) == 9


def _draw(seed: int, step: int) -> torch.Tensor:
    return torch.randn(4, generator=step_generator(seed, step))
