"""The known graves of batchers. The graph is a function that a test can hold back; nothing sleeps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import numpy as np
import pytest

from app.errors import DeadlineExceeded, ModelOutputInvalid, Overloaded, ShuttingDown
from app.runtime.batch import Array
from app.runtime.batcher import Answer, Batcher
from app.runtime.session import Interruption

Result = TypeVar("Result")


class Graph:
    """Doubles its rows. While held it waits; it notes the rows of every run that succeeded."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.permits = threading.Semaphore(0)
        self.faults: list[Exception] = []

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


def test_answers_go_to_who_asked() -> None:
    async def scene() -> None:
        queue = batcher(Graph())
        answers = await asyncio.gather(*(queue.submit(column(i, i + 0.5)) for i in range(40)), return_exceptions=True)
        for i, answer in enumerate(answers[:16]):
            assert outputs(answer) == [2 * i, 2 * i + 1]
        assert all(isinstance(answer, Overloaded) for answer in answers[16:])

    play(scene)


def test_what_waits_goes_in_one_run() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        tasks = [await hold(graph, queue, 1)] + [submit(queue, i) for i in (2, 3, 4)]
        await settle()
        graph.open.set()
        await asyncio.gather(*tasks)
        assert graph.runs == [[1], [2, 3, 4]]

    play(scene)


def test_lone_request_does_not_wait_for_company() -> None:
    async def scene() -> None:
        graph = Graph()
        answer = await batcher(graph).submit(column(1))
        assert graph.runs == [[1]]
        assert answer.queue_s < 1
        assert answer.run_s < 1

    play(scene)


def test_large_request_goes_in_pieces_and_lets_others_through() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, max_batch_rows=4)
        first = await hold(graph, queue, 0)
        large, small = submit(queue, *range(10)), submit(queue, 77)
        await settle()
        graph.open.set()
        assert outputs(await large) == [2 * i for i in range(10)]
        assert outputs(await small) == [154]
        await first
        assert graph.runs == [[0], [0, 1, 2, 3], [77, 4, 5, 6], [7, 8, 9]]

    play(scene)


def test_requests_of_other_shapes_run_apart() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 1)
        wide = asyncio.create_task(queue.submit({"x": np.array([[5, 5]], np.float32)}))
        tasks = [submit(queue, 2), submit(queue, 3)]
        await settle()
        graph.open.set()
        await asyncio.gather(first, *tasks)
        assert (await wide).outputs["y"].tolist() == [[10, 10]]
        assert graph.runs == [[1], [5], [2, 3]]

    play(scene)


def test_cancelled_client_leaves_its_mates_unharmed() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        running = await hold(graph, queue, 1)
        leaving, staying = submit(queue, 2), submit(queue, 3)
        await settle()
        leaving.cancel()
        running.cancel()
        await asyncio.wait([leaving, running])
        assert queue.waiting_rows == 1
        graph.open.set()
        assert outputs(await staying) == [6]
        assert outputs(await queue.submit(column(4))) == [8]
        assert graph.runs == [[3], [4]]

    play(scene)


def test_client_that_leaves_during_its_run_leaves_its_mates_unharmed() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 1)
        mates = [submit(queue, 2), submit(queue, 3)]
        await settle()
        graph.open.set()
        await first
        graph.open.clear()
        mates[0].cancel()
        graph.open.set()
        assert outputs(await mates[1]) == [6]

    play(scene)


def test_model_that_raises_once_harms_nobody() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        graph.faults.append(RuntimeError("once"))
        tasks = [submit(queue, i) for i in range(4)]
        assert [outputs(answer) for answer in await asyncio.gather(*tasks)] == [[0], [2], [4], [6]]

    play(scene)


def test_bad_row_fails_alone_and_the_worker_lives() -> None:
    async def scene() -> None:
        queue = batcher(Graph())
        good, bad, also_good = submit(queue, 1, 2), submit(queue, 3, 666), submit(queue, 4)
        await asyncio.wait([good, bad, also_good])
        assert (outputs(good.result()), outputs(also_good.result())) == ([2, 4], [8])
        assert isinstance(bad.exception(), RuntimeError)
        assert outputs(await queue.submit(column(5))) == [10]

    play(scene)


def test_large_request_with_a_bad_row_stops_at_it() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, max_batch_rows=1)
        with pytest.raises(RuntimeError, match="a bad row"):
            await queue.submit(column(1, 666, 3, 4, 5))
        await queue.submit(column(9))
        assert graph.runs == [[1], [9]]

    play(scene)


def test_value_that_is_not_finite_fails_its_request_alone() -> None:
    async def scene() -> None:
        queue = batcher(Graph())
        good, bad = submit(queue, 1), submit(queue, np.nan)
        await asyncio.wait([good, bad])
        assert outputs(good.result()) == [2]
        assert isinstance(bad.exception(), ModelOutputInvalid)

    play(scene)


def test_deadline_in_the_queue_answers_in_time_and_frees_its_rows() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 1)
        with pytest.raises(DeadlineExceeded):
            await queue.submit(column(2), deadline=time.monotonic() + 0.01)
        assert queue.waiting_rows == 0
        graph.open.set()
        await first
        assert outputs(await queue.submit(column(3))) == [6]
        assert graph.runs == [[1], [3]]

    play(scene)


def test_deadline_during_the_run_answers_in_time() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        graph.open.clear()
        with pytest.raises(DeadlineExceeded):
            await queue.submit(column(1), deadline=time.monotonic() + 0.01)
        graph.open.set()
        assert outputs(await queue.submit(column(2), deadline=time.monotonic() + 10)) == [4]

    play(scene)


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
def test_run_that_nobody_waits_for_is_ended(end: str) -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 0)
        deadline = time.monotonic() + 0.02
        mates = [submit(queue, value, deadline=deadline) for value in (1, 2)]
        await settle()
        graph.step()
        await first
        await graph.busy()
        for mate in mates if end == "cancelled" else ():
            mate.cancel()
        await asyncio.wait(mates)
        graph.open.set()
        assert outputs(await queue.submit(column(3))) == [6]
        assert graph.runs == [[0], [3]]

    play(scene)


def test_run_goes_on_while_anybody_waits_for_it() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 0)
        leaving, staying = submit(queue, 1), submit(queue, 2)
        await settle()
        graph.step()
        await first
        await graph.busy()
        leaving.cancel()
        await asyncio.wait([leaving])
        graph.open.set()
        assert outputs(await staying) == [4]
        assert graph.runs == [[0], [1, 2]]

    play(scene)


def test_lanes_share_one_large_request() -> None:
    async def scene() -> None:
        graph = Graph()
        graph.open.clear()
        queue = batcher(graph, max_batch_rows=2, lanes=2)
        large = submit(queue, 1, 2, 3, 4)
        await graph.busy()
        await graph.busy()  # both halves run now, though neither can end
        graph.open.set()
        assert outputs(await large) == [2, 4, 6, 8]

    play(scene)


def test_bulk_request_does_not_starve_single_ones() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, max_batch_rows=64, queue_rows=8192)
        bulk = await hold(graph, queue, *range(1000, 5096))
        order: list[str] = []
        bulk.add_done_callback(lambda _: order.append("bulk"))
        for wave in range(3):
            singles = [submit(queue, 7) for _ in range(10)]
            for single in singles:
                single.add_done_callback(lambda _: order.append("single"))
            await settle()
            for _ in range(3):  # what runs already, the bulk's turn, the singles' turn
                graph.step()
                await graph.busy()
            await asyncio.gather(*singles)
            assert len(graph.runs) == 3 * wave + 3
        graph.open.set()
        assert outputs(await bulk) == [2 * value for value in range(1000, 5096)]
        assert order == ["single"] * 30 + ["bulk"]

    play(scene)


def test_bulk_requests_take_turns() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, max_batch_rows=2)
        first = await hold(graph, queue, 0)
        bulks = [submit(queue, *range(start, start + 4)) for start in (10, 20)]
        await settle()
        graph.open.set()
        await asyncio.gather(first, *bulks)
        assert graph.runs == [[0], [10, 11], [20, 21], [12, 13], [22, 23]]

    play(scene)


def test_deadline_that_has_passed_is_not_queued() -> None:
    async def scene() -> None:
        graph = Graph()
        with pytest.raises(DeadlineExceeded):
            await batcher(graph).submit(column(1), deadline=time.monotonic() - 1)
        assert graph.runs == []

    play(scene)


def test_timeout_raised_by_the_model_is_not_a_deadline() -> None:
    async def scene() -> None:
        graph = Graph()
        graph.faults.append(TimeoutError("the model's own"))
        with pytest.raises(TimeoutError, match="the model's own"):
            await batcher(graph).submit(column(1), deadline=time.monotonic() + 10)

    play(scene)


def test_queue_is_full_in_rows_not_in_requests() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, queue_rows=4)
        first = await hold(graph, queue, 0)
        waiting = submit(queue, 1, 2, 3)
        await settle()
        with pytest.raises(Overloaded) as refusal:
            await queue.submit(column(4, 5))
        assert refusal.value.retry_after_s
        fits = submit(queue, 6)
        await settle()
        graph.open.set()
        assert [outputs(answer) for answer in await asyncio.gather(first, waiting, fits)] == [[0], [2, 4, 6], [12]]

    play(scene)


def test_rows_of_a_client_that_left_make_room_at_once() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph, queue_rows=2)
        first = await hold(graph, queue, 0)
        leaving = submit(queue, 1, 2)
        await settle()
        leaving.cancel()
        await asyncio.wait([leaving])
        staying = submit(queue, 3, 4)
        await settle()
        graph.open.set()
        assert outputs(await staying) == [6, 8]
        await first

    play(scene)


def test_closing_finishes_what_waits_and_takes_nothing_new() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        pending = [await hold(graph, queue, 1), submit(queue, 2), submit(queue, 3)]
        await settle()
        closing = asyncio.create_task(queue.close())
        await settle()
        with pytest.raises(ShuttingDown):
            await queue.submit(column(4))
        assert not closing.done()
        graph.open.set()
        await closing
        assert [outputs(answer) for answer in await asyncio.gather(*pending)] == [[2], [4], [6]]

    play(scene)


def test_closing_twice_or_unused_is_harmless() -> None:
    async def scene() -> None:
        queue = batcher(Graph())
        await queue.close()
        await queue.close()

    play(scene)


def test_worker_that_was_ended_is_replaced() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 1)
        (worker,) = [task for task in asyncio.all_tasks() if task.get_name() == "test lane 0"]
        worker.cancel()
        await asyncio.wait([worker])
        graph.open.set()
        with pytest.raises(ShuttingDown):
            await first
        assert outputs(await queue.submit(column(2))) == [4]

    play(scene)


def test_event_loop_runs_while_the_graph_does() -> None:
    async def scene() -> Awaitable[Answer]:
        graph = Graph()
        first = await hold(graph, batcher(graph), 1)
        await settle()
        assert not first.done()
        graph.open.set()
        return await first

    play(scene)
