from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from app.errors import ModelOutputInvalid, Overloaded
from app.runtime.batch import Array, Outcome, kind, row_count, run_together, stack
from app.runtime.session import Interruption

Feeds = Mapping[str, Array]


def column(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)[:, None]}


def double(feeds: Feeds) -> dict[str, Array]:
    return {"y": feeds["x"] * 2}


class Picky:
    """Doubles its rows, raises where any of them is negative, and counts the runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, feeds: Feeds) -> dict[str, Array]:
        self.runs += 1
        if (feeds["x"] < 0).any():
            raise RuntimeError("negative")
        return double(feeds)


def together(run: Callable[[Feeds], dict[str, Array]], batches: Sequence[Feeds]) -> list[Outcome]:
    """Run them without ever interrupting."""
    return run_together(lambda feeds, _: run(feeds), batches, Interruption())


def answers(outcomes: list[Outcome]) -> list[list[float] | None]:
    """The numbers of each outcome, None where there is none."""
    return [None if isinstance(outcome, Exception) else outcome["y"].ravel().tolist() for outcome in outcomes]


def test_rows_of_many_batches_come_back_to_their_batch() -> None:
    outcomes = together(double, [column(1, 2), column(3), column(4, 5, 6)])
    assert answers(outcomes) == [[2, 4], [6], [8, 10, 12]]


@pytest.mark.parametrize("bad", [{0}, {6}, {2, 3}, set(range(7))])
def test_bad_batches_fail_alone(bad: set[int]) -> None:
    batches = [column(1.0, -1.0) if index in bad else column(index) for index in range(7)]
    outcomes = together(Picky(), batches)
    assert {index for index, outcome in enumerate(outcomes) if isinstance(outcome, RuntimeError)} == bad
    assert answers(outcomes) == [None if index in bad else [2 * index] for index in range(7)]


def test_one_bad_batch_is_found_by_halving() -> None:
    picky = Picky()
    together(picky, [*[column(1.0)] * 63, column(-1.0)])
    assert picky.runs == 1 + 2 * 6


def test_fault_that_passes_harms_nobody_in_company() -> None:
    faults = iter([RuntimeError("once")])

    def flaky(feeds: Feeds) -> dict[str, Array]:
        for fault in faults:
            raise fault
        return double(feeds)

    assert answers(together(flaky, [column(1), column(2, 3)])) == [[2], [4, 6]]


def test_what_does_not_fit_in_memory_together_runs_in_parts() -> None:
    def small(feeds: Feeds) -> dict[str, Array]:
        if len(feeds["x"]) > 2:
            raise MemoryError
        return double(feeds)

    *fitting, large = together(small, [column(1), column(2), column(3, 4), column(5, 6, 7)])
    assert answers(fitting) == [[2], [4], [6, 8]]
    assert isinstance(large, Overloaded)
    assert large.retry_after_s


def test_interrupted_run_is_not_tried_again() -> None:
    interruption, runs = Interruption(), []

    def interrupted(feeds: Feeds, interruption: Interruption) -> dict[str, Array]:
        runs.append(len(feeds["x"]))
        interruption.request()
        raise RuntimeError("ended")

    outcomes = run_together(interrupted, [column(1), column(2)], interruption)
    assert runs == [2]
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_batch_that_is_not_finite_fails_alone(value: float) -> None:
    first, second, third = together(double, [column(1), column(2, value), column(3)])
    assert isinstance(second, ModelOutputInvalid)
    assert "y" in second.detail
    assert answers([first, third]) == [[2], [6]]


def test_wrong_number_of_rows_fails_every_batch() -> None:
    outcomes = together(lambda feeds: {"y": np.zeros((3, 1))}, [column(1), column(2)])
    assert all(isinstance(outcome, ModelOutputInvalid) for outcome in outcomes)


def test_one_batch_is_stacked_without_a_copy() -> None:
    alone = column(1, 2)
    assert stack([alone])["x"] is alone["x"]


@pytest.mark.parametrize("tensors", [{"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}, {"a": np.zeros((0, 1))}, {}])
def test_rows_must_agree_and_exist(tensors: dict[str, Array]) -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        row_count(tensors)


def test_kind_ignores_rows_and_nothing_else() -> None:
    assert kind(column(1)) == kind(column(1, 2))
    assert kind(column(1)) != kind({"x": np.zeros((1, 2), np.float32)})
    assert kind(column(1)) != kind({"x": np.zeros((1, 1), np.float64)})
    assert kind(column(1)) != kind({"z": np.zeros((1, 1), np.float32)})
