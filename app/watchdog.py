"""Ends a process whose event loop stands still, so that its supervisor replaces it: it would never answer again.

A thread counts its looks since the loop's last sign of life. Looks, not seconds: a process that was stopped and goes
on, or a machine that slept, has missed no look. Where the interpreter itself is held by one call, no thread runs: such
a worker misses the supervisor's pings, and the probes of whoever watches from outside.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LOOKS_A_SECOND = 4

_WRITING_S = 1.0
"""What the thread that writes the log gets before the process ends; it may be blocked as well."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def watchdog(
    patience_s: float, *, supervisor: int | None = None, end: Callable[[int], object] = os._exit
) -> AsyncIterator[None]:
    """Within the block, call `end` when the running event loop has not turned for `patience_s`.

    A process whose parent is no longer the process `supervisor` gets SIGTERM: its address must be free for a new one.
    """
    watched = _Watchdog(patience_s, supervisor, end)
    beating = asyncio.create_task(watched.beat(), name="watchdog")
    watched.thread.start()
    try:
        yield
    finally:
        beating.cancel()
        watched.released.set()


class _Watchdog:
    def __init__(self, patience_s: float, supervisor: int | None, end: Callable[[int], object]) -> None:
        self._patience_s = patience_s
        self._supervisor = supervisor
        self._end = end
        self._looks = 0
        self._watched = threading.get_ident()
        self.released = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    async def beat(self) -> None:
        """The loop turns, until this is cancelled."""
        while True:
            self._looks = 0
            await asyncio.sleep(1 / LOOKS_A_SECOND)

    def _watch(self) -> None:
        while not self.released.wait(1 / LOOKS_A_SECOND):
            self._looks += 1
            if self._supervisor not in (None, os.getppid()):
                self._supervisor = None
                logger.critical("the supervisor is gone, this process ends")
                os.kill(os.getpid(), signal.SIGTERM)
            if self._looks > self._patience_s * LOOKS_A_SECOND:
                self._give_up()
                return

    def _give_up(self) -> None:
        stack = "".join(traceback.format_stack(sys._current_frames()[self._watched]))
        told = "the event loop has stood still for %g s, this process ends"
        logger.critical(told, self._patience_s, extra={"fields": {"stack": stack}})
        self.released.wait(_WRITING_S)
        self._end(os.EX_SOFTWARE)
