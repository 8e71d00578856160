"""Work off the event loop: its threads, its context, its end."""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import ContextVar

import pytest

from app.runtime.threads import THREADS, in_thread

WHO: ContextVar[str] = ContextVar("WHO")


def _count() -> int:
    return sum(thread.name.startswith("work") for thread in threading.enumerate())


def test_crowd_finds_as_many_threads_as_the_first_of_it() -> None:
    async def scene() -> None:
        await in_thread(os.getpid)
        assert _count() == THREADS
        await asyncio.gather(*(in_thread(sum, range(10_000)) for _ in range(3 * THREADS)))
        assert _count() == THREADS

    asyncio.run(scene())


def test_as_many_works_go_on_at_a_time_as_there_are_threads() -> None:
    async def scene() -> None:
        together = threading.Barrier(THREADS, timeout=10)
        await asyncio.gather(*(in_thread(together.wait) for _ in range(THREADS)))
        assert not together.broken

    asyncio.run(scene())


def test_work_has_the_context_arguments_and_errors_of_who_asked() -> None:
    async def scene() -> None:
        WHO.set("me")
        assert await in_thread(WHO.get) == "me"
        assert await in_thread(int, "ff", base=16) == 255
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    asyncio.run(scene())


def test_cancelled_work_that_waits_is_not_done() -> None:
    async def scene() -> None:
        go = threading.Event()
        done: list[int] = []
        busy = [asyncio.create_task(in_thread(go.wait, 10)) for _ in range(THREADS)]
        waiting = asyncio.create_task(in_thread(done.append, 1))
        await asyncio.sleep(0)  # each of them has asked
        waiting.cancel()
        go.set()
        assert all(await asyncio.gather(*busy))
        await in_thread(os.getpid)  # in the queue behind it
        assert done == []

    asyncio.run(scene())
