"""The known graves of batchers. The graph is a function that a test can hold back; nothing sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import numpy as np
import pytest

from app.errors import DeadlineExceeded, ModelOutputInvalid, Overloaded, ShuttingDown
from app.runtime.batcher import Answer
from tests.app.runtime.scenes import Graph, batcher, column, hold, outputs, play, settle, submit


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
        with pytest.raises(ShuttingDown):
            await submit(queue, 1)

    play(scene)


def test_run_that_would_end_its_thread_is_answered_and_the_next_one_runs() -> None:
    async def scene() -> None:
        graph = Graph()
        graph.faults.append(SystemExit())
        queue = batcher(graph)
        with pytest.raises(ShuttingDown):
            await queue.submit(column(1))
        assert outputs(await queue.submit(column(2))) == [4]
        await queue.close()

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


def test_next_run_begins_without_the_event_loop() -> None:
    async def scene() -> None:
        graph = Graph()
        queue = batcher(graph)
        first = await hold(graph, queue, 1)
        second = submit(queue, 2)
        await settle()
        graph.open.set()
        assert graph.entered.acquire(timeout=10)  # this keeps the event loop from everything else
        assert not first.done()
        assert [outputs(await task) for task in (first, second)] == [[2], [4]]

    play(scene)
