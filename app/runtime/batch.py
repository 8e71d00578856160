"""Rows: stack the inputs of many requests, run them as one, and hand each row its own outcome. Pure.

A batch is a dictionary of arrays whose first axis is the row. Rows of a deterministic graph do not depend on each
other, so any grouping gives the same answers, and a row that fails can be told apart by running the others without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import ModelOutputInvalid

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Run = Callable[[Tensors], dict[str, Array]]
Outcome = dict[str, Array] | Exception
"""What one row came to: its outputs without the row axis, or why it has none."""


def row_count(tensors: Tensors) -> int:
    """How many rows all these tensors have. Raises ValueError when they disagree or there is none."""
    counts = {len(array) for array in tensors.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"tensors of one batch need the same number of rows, at least one; got {sorted(counts)}")
    return counts.pop()


def kind(tensors: Tensors) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """What must be equal for two batches to be stacked: names, shapes but for the rows, types."""
    return tuple((name, tensors[name].shape[1:], tensors[name].dtype.str) for name in sorted(tensors))


def rows(tensors: Tensors, start: int, stop: int) -> dict[str, Array]:
    """Rows start … stop−1, as views."""
    return {name: array[start:stop] for name, array in tensors.items()}


def stack(batches: Sequence[Tensors]) -> dict[str, Array]:
    """The rows of several batches of one kind, one below the other."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def gather(outcomes: Sequence[Outcome]) -> dict[str, Array]:
    """The outputs of rows as one batch. Raises the first row's error, if any failed."""
    answers = []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        answers.append(outcome)
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def run_rows(run: Run, batches: Sequence[Tensors]) -> list[Outcome]:
    """Run batches of one kind as one; one outcome a row, whatever happens.

    Where the run raises, its halves are run again, down to single rows: a bad row fails alone, a passing fault harms
    nobody.
    """
    count = sum(row_count(batch) for batch in batches)
    try:
        return _outcomes(run(stack(batches)), count)
    except Exception as error:  # the batch boundary: whatever a graph raises belongs to its rows, not to the worker
        if count == 1:
            return [error]
    first, second = _halves(batches)
    return run_rows(run, first) + run_rows(run, second)


def _halves(batches: Sequence[Tensors]) -> tuple[Sequence[Tensors], Sequence[Tensors]]:
    """Two parts of several batches, or of the rows of one."""
    if len(batches) > 1:
        return batches[: len(batches) // 2], batches[len(batches) // 2 :]
    count = row_count(batches[0])
    return [rows(batches[0], 0, count // 2)], [rows(batches[0], count // 2, count)]


def _outcomes(outputs: Tensors, count: int) -> list[Outcome]:
    """Rows of outputs. A row with a value that is not finite has failed."""
    if (answered := row_count(outputs)) != count:
        raise ModelOutputInvalid(f"the graph answered {answered} rows to {count}")
    finite = np.ones(count, bool)
    for array in outputs.values():
        finite &= np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    return [
        {name: array[row] for name, array in outputs.items()} if finite[row] else _not_finite(outputs, row)
        for row in range(count)
    ]


def _not_finite(outputs: Tensors, row: int) -> ModelOutputInvalid:
    names = [name for name, array in outputs.items() if not np.isfinite(array[row]).all()]
    return ModelOutputInvalid(f"the model's {' and '.join(names)} held a value that is not finite")
