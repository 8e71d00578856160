"""What tests of the batcher play with: a graph that a test can hold back; nothing sleeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np

from app.runtime.batch import Array
from app.runtime.batcher import Answer, Batcher

Result = TypeVar("Result")


class Graph:
    """Doubles its rows. While held it waits; it notes the rows of every run that succeeded."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.permits = threading.Semaphore(0)
        self.faults: list[BaseException] = []

    def __call__(self, feeds: Mapping[str, Array], interruption: Interruption) -> dict[str, Array]:
        self.entered.release()
        self._wait()
        if interruption.requested:
            raise RuntimeError("interrupted")
        if self.faults:
            raise self.faults.pop()
        if (feeds["x"] == 666).any():
            raise RuntimeError("a bad row")
        self.runs.append(feeds["x"][:, 0].tolist())
        return {"y": feeds["x"] * 2}

    def _wait(self) -> None:
        for _ in range(10_000):
            if self.open.wait(timeout=0.001) or self.permits.acquire(blocking=False):
                return
        raise AssertionError("nobody let the graph go on")

    def step(self) -> None:
        """Let one run through though the graph is held."""
        self.permits.release()

    async def busy(self) -> None:
        """Return when a run has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


def batcher(graph: Graph, *, max_batch_rows: int = 8, queue_rows: int = 32, lanes: int = 1) -> Batcher:
    return Batcher(graph, max_batch_rows=max_batch_rows, queue_rows=queue_rows, name="test", lanes=lanes)


def column(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)[:, None]}


def submit(queue: Batcher, *values: float, deadline: float | None = None) -> asyncio.Task[Answer]:
    return asyncio.create_task(queue.submit(column(*values), deadline=deadline))


def outputs(answer: Answer) -> list[float]:
    return answer.outputs["y"][:, 0].tolist()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(graph: Graph, queue: Batcher, *values: float) -> asyncio.Task[Answer]:
    """Start a request and keep the graph busy with it."""
    graph.open.clear()
    first = submit(queue, *values)
    await graph.busy()
    return first


def play(scene: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a scene with a limit, so that a lost request fails the test and does not hang it."""
    return asyncio.run(asyncio.wait_for(scene(), timeout=20))
