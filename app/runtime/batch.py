"""Rows: stack the inputs of many requests, run them as one, and hand each its own outcome. Pure.

A batch is a dictionary of arrays whose first axis is the row. Rows of a deterministic graph do not depend on each
other, so any grouping gives the same answers, and a request whose rows fail can be told apart by running the others
without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import ModelOutputInvalid, Overloaded
from app.runtime.session import Interruption

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Run = Callable[[Tensors, Interruption], dict[str, Array]]
Outcome = dict[str, Array] | Exception
"""What the rows of one request came to: their outputs, or why there are none."""

RETRY_AFTER_S = 1
"""What a caller is told to wait where the service has no room now."""


def row_count(tensors: Tensors) -> int:
    """How many rows all these tensors have. Raises ValueError when they disagree or there is none."""
    counts = [len(array) for array in tensors.values()]
    if not counts or not counts[0] or counts.count(counts[0]) != len(counts):
        raise ValueError(f"tensors of one batch need the same number of rows, at least one; got {sorted(counts)}")
    return counts[0]


def kind(tensors: Tensors) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
    """What must be equal for two batches to be stacked: names, shapes but for the rows, types."""
    return tuple([(name, array.shape[1:], array.dtype) for name, array in sorted(tensors.items())])


def rows(tensors: Tensors, start: int, stop: int) -> dict[str, Array]:
    """Rows start … stop−1, as views."""
    return {name: array[start:stop] for name, array in tensors.items()}


def stack(batches: Sequence[Tensors]) -> Tensors:
    """The rows of several batches of one kind, one below the other."""
    if len(batches) == 1:
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def run_together(run: Run, batches: Sequence[Tensors], interruption: Interruption) -> list[Outcome]:
    """Run batches of one kind as one; one outcome a batch, whatever happens.

    Where the run raises, its halves are run again, down to single batches: what is bad fails alone, a passing fault
    harms nobody else, and what was too much for the memory may fit in parts. An interrupted run is left at that.
    """
    try:
        return _split(run(stack(batches), interruption), [row_count(batch) for batch in batches])
    except Exception as error:  # the batch boundary: whatever a graph raises belongs to its rows, not to the worker
        if len(batches) == 1 or interruption.requested:
            return [_outcome(error)] * len(batches)
    middle = len(batches) // 2
    first, second = batches[:middle], batches[middle:]
    return run_together(run, first, interruption) + run_together(run, second, interruption)


def _outcome(error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return Overloaded("there is not enough memory for this request now", retry_after_s=RETRY_AFTER_S)
    return error


def _split(outputs: Tensors, counts: Sequence[int]) -> list[Outcome]:
    """Each batch's rows of the outputs. A batch with a value that is not finite has failed."""
    if (answered := row_count(outputs)) != sum(counts):
        raise ModelOutputInvalid(f"the graph answered {answered} rows to {sum(counts)}")
    parts, start = [], 0
    for count in counts:
        parts.append(rows(outputs, start, start + count))
        start += count
    if all(np.isfinite(array).all() for array in outputs.values()):
        return list(parts)
    return [_not_finite(part) or part for part in parts]


def _not_finite(outputs: Tensors) -> ModelOutputInvalid | None:
    names = [name for name, array in outputs.items() if not np.isfinite(array).all()]
    return ModelOutputInvalid(f"the model's {' and '.join(names)} held a value that is not finite") if names else None
