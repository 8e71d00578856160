from __future__ import annotations

import numpy as np
import pytest

from training.config import OptimiserConfig
from training.loops.schedule import Plan, learning_rate_factor

PLAN = Plan(images=23, batch_size=5, epochs=3, seed=4)


def test_every_epoch_is_whole_batches_of_different_images() -> None:
    batches = list(PLAN.batches(done_steps=0))
    assert len(batches) == PLAN.total_steps == 12
    for epoch in range(3):
        seen = np.concatenate(batches[4 * epoch : 4 * epoch + 4])
        assert len(set(seen.tolist())) == 20


@pytest.mark.parametrize("done", [0, 1, 3, 4, 7, 11, 12])
def test_resumed_plan_goes_on_with_the_batches_of_an_unbroken_one(done: int) -> None:
    whole, rest = list(PLAN.batches(done_steps=0)), list(PLAN.batches(done_steps=done))
    assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[done:]]


def test_cosine_falls_from_one_to_zero_and_constant_stays() -> None:
    cosine = OptimiserConfig(schedule="cosine")
    assert [learning_rate_factor(cosine, step, 8) for step in (0, 4, 8)] == pytest.approx([1, 0.5, 0])
    assert learning_rate_factor(OptimiserConfig(schedule="constant"), 7, 8) == 1
