from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from app.errors import ModelOutputInvalid
from app.runtime.batch import Array, gather, kind, row_count, run_rows

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


def test_rows_of_many_batches_come_back_in_order() -> None:
    outcomes = run_rows(double, [column(1, 2), column(3), column(4, 5, 6)])
    np.testing.assert_array_equal(gather(outcomes)["y"].ravel(), [2, 4, 6, 8, 10, 12])


@pytest.mark.parametrize("bad", [{0}, {6}, {2, 3}, set(range(7))])
def test_bad_rows_fail_alone(bad: set[int]) -> None:
    values = [-1.0 if row in bad else float(row) for row in range(7)]
    outcomes = run_rows(Picky(), [column(*values[:1]), column(*values[1:])])
    assert {row for row, outcome in enumerate(outcomes) if isinstance(outcome, RuntimeError)} == bad
    assert [outcome["y"] for row, outcome in enumerate(outcomes) if row not in bad] == [
        2 * row for row in range(7) if row not in bad
    ]


def test_one_bad_row_is_found_by_halving() -> None:
    picky = Picky()
    run_rows(picky, [column(*[1.0] * 63, -1.0)])
    assert picky.runs == 1 + 2 * 6


def test_fault_that_passes_harms_nobody() -> None:
    faults = iter([RuntimeError("once")])

    def flaky(feeds: Feeds) -> dict[str, Array]:
        for fault in faults:
            raise fault
        return double(feeds)

    assert not any(isinstance(outcome, Exception) for outcome in run_rows(flaky, [column(1, 2, 3)]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_fails_alone(value: float) -> None:
    first, second, third = run_rows(double, [column(1, value, 3)])
    assert isinstance(second, ModelOutputInvalid)
    assert "y" in second.detail
    assert (first["y"], third["y"]) == (2, 6)


def test_wrong_number_of_rows_fails_every_row() -> None:
    outcomes = run_rows(lambda feeds: {"y": np.zeros((3, 1))}, [column(1, 2)])
    assert all(isinstance(outcome, ModelOutputInvalid) for outcome in outcomes)


def test_gathering_a_failed_row_raises_its_error() -> None:
    with pytest.raises(RuntimeError, match="negative"):
        gather(run_rows(Picky(), [column(1, -1)]))


@pytest.mark.parametrize("tensors", [{"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}, {"a": np.zeros((0, 1))}, {}])
def test_rows_must_agree_and_exist(tensors: dict[str, Array]) -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        row_count(tensors)


def test_kind_ignores_rows_and_nothing_else() -> None:
    assert kind(column(1)) == kind(column(1, 2))
    assert kind(column(1)) != kind({"x": np.zeros((1, 2), np.float32)})
    assert kind(column(1)) != kind({"x": np.zeros((1, 1), np.float64)})
    assert kind(column(1)) != kind({"z": np.zeros((1, 1), np.float32)})
