"""Work for one request that would make the event loop stand still: reading, drawing, encoding much of something.

The threads for it start all at once, with the first of it: a pool that grows with its crowd keeps the most that ever
came together, and nobody could tell that from a leak.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from threading import Barrier
from typing import ParamSpec, TypeVar

from app.runtime.machine import interrupt_nobody

THREADS = 32
"""So many that a few slow animations keep nobody waiting; the cores are shared out by the system."""

STARTING_S = 1.0
"""Where the system refuses threads, those that it allowed wait for the others no longer than this."""

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """`work` of the arguments in a thread, with this task's context variables; cancelling ends it if it only waits."""
    in_context = partial(copy_context().run, work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_threads(), in_context)


@cache
def _threads() -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="work", initializer=interrupt_nobody)
    all_there = Barrier(THREADS, timeout=STARTING_S)
    for _ in range(THREADS):
        threads.submit(all_there.wait)  # the executor starts a thread only where none is idle
    return threads
