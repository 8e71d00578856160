"""The watchdog ends what stands still, and only that."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.watchdog import LOOKS_A_SECOND, watchdog


def test_event_loop_that_stands_still_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []
    gone = threading.Event()

    def end(status: int) -> None:
        ended.append(status)
        gone.set()

    async def stand_still() -> None:
        async with watchdog(2 / LOOKS_A_SECOND, end=end):
            await asyncio.sleep(0)
            assert gone.wait(30)

    asyncio.run(stand_still())
    assert ended == [70]
    (record,) = caplog.records
    assert "in stand_still" in record.__dict__["fields"]["stack"]


def test_event_loop_that_turns_is_left_alone_however_long() -> None:
    async def turn() -> None:
        looked = threading.Event()
        async with watchdog(2 / LOOKS_A_SECOND, end=lambda status: looked.set()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(looked.wait, 5 / LOOKS_A_SECOND), 4 / LOOKS_A_SECOND)
        assert not looked.is_set()

    asyncio.run(turn())
