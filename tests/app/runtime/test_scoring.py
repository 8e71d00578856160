from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from app.runtime.batcher import Answer
from app.runtime.evidence import SAMPLES_A_ROW
from app.runtime.scoring import (
    DRAWS_AT_ONCE,
    NUMBERS_AT_ONCE,
    ROWS_AT_ONCE,
    Effort,
    Indices,
    draws_in_parts,
    weigh_pictures,
)

SPREADS = np.array([0.0, 0.5, 3.0])
"""Of the log weights of three pictures: the first needs the fewest samples."""


def weigh_all(effort: Effort, latent_size: int = 2, opening: int = 0) -> tuple[Any, list[tuple[list[int], int, int]]]:
    """Score the three pictures; also what was asked for, in order."""
    noise = np.random.default_rng(0).standard_normal((3, 5000))
    asked = []

    async def weigh(chosen: Indices, start: int, stop: int) -> tuple[Mapping[str, Any], Answer]:
        asked.append((chosen.tolist(), start, stop))
        likelihood = (SPREADS[:, None] * noise)[chosen, start:stop]
        nothing = np.zeros_like(likelihood)
        terms = {"log_likelihood": likelihood, "log_prior": nothing, "log_posterior": nothing}
        return terms, Answer({}, 1, queue_s=0.0, run_s=0.0)

    return asyncio.run(weigh_pictures(weigh, 3, latent_size, effort, opening=opening)), asked


def test_only_pictures_that_need_more_are_weighed_again() -> None:
    found, asked = weigh_all(Effort(samples=16, most=300, half_width_nats=0.1))
    assert asked[:2] == [([0, 1, 2], 0, 16), ([1, 2], 16, 32)]
    assert asked[-1] == ([2], 256, 300)
    assert (found.samples[0], found.samples[2]) == (16, 300)
    assert found.bounds[1].is_within(0.1)
    assert not found.bounds[2].is_within(0.1)


@pytest.mark.parametrize(("samples", "weighed"), [(16, 40), (40, 40), (50, 50)])
def test_opening_is_of_so_many_samples_whatever_was_asked(samples: int, weighed: int) -> None:
    asked_for, asked = weigh_all(Effort.fixed(samples), opening=40)
    of_forty, _ = weigh_all(Effort.fixed(40))
    alone, _ = weigh_all(Effort.fixed(samples))
    assert asked == [([0, 1, 2], 0, weighed)]
    for index, bound in enumerate(asked_for.opening):
        assert asdict(bound) == pytest.approx(asdict(of_forty.bounds[index]), rel=1e-12)
    assert len(asked_for.opening) == 3
    for index, bound in alone.bounds.items():
        assert asdict(asked_for.bounds[index]) == pytest.approx(asdict(bound), rel=1e-12)


@pytest.mark.parametrize("latent_size", [1, 64, 4096, 10**6])
def test_parts_are_bounded_in_rows_and_in_noise(latent_size: int) -> None:
    _, asked = weigh_all(Effort.fixed(4800), latent_size)
    for chosen, start, stop in asked:
        assert (stop - start) * len(chosen) <= ROWS_AT_ONCE * SAMPLES_A_ROW
        assert stop - start == 1 or (stop - start) * len(chosen) * latent_size <= NUMBERS_AT_ONCE
    assert sum(stop - start for _, start, stop in asked) == 4800


@pytest.mark.parametrize("samples", [[1], [256], [257, 1], [100, 200, 700], [1] * 600])
def test_draws_come_once_each_in_parts_of_few(samples: list[int]) -> None:
    parts = list(draws_in_parts(samples))
    assert all(sum(map(len, part)) == DRAWS_AT_ONCE for part in parts[:-1])
    drawn = Counter((d.picture, sample) for part in parts for d in part for sample in range(d.start, d.stop))
    assert drawn == Counter((picture, sample) for picture, count in enumerate(samples) for sample in range(count))
