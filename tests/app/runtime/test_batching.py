"""Which rows share a run, and in which order requests are served. The graph can be held back; nothing sleeps."""

from __future__ import annotations

import asyncio

import numpy as np

from app.errors import Overloaded
from tests.app.runtime.scenes import Graph, batcher, column, hold, outputs, play, settle, submit


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
