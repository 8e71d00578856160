"""One request and its answer: the body is read with patience, and a caller who leaves is noticed.

Most requests are whole and answered within milliseconds, so they share one timer, and only what takes longer is given
more: a timer for a body that stalls, a task that listens for a caller who leaves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyStalled

WATCHED_AFTER_S = 0.05
"""What is done by then is worth neither a timer nor a task of its own."""


class Exchange:
    """Between a caller and an application, in the task that is made for it. `end` must be called."""

    __slots__ = (
        "_answered",
        "_body",
        "_departed",
        "_end",
        "_heard_s",
        "_loop",
        "_patience_s",
        "_read",
        "_receive",
        "_send",
        "_stalled",
        "_timer",
        "_watcher",
        "_work",
        "began_s",
        "over",
    )

    def __init__(self, receive: Receive, send: Send, *, patience_s: float, latecomers: Latecomers) -> None:
        self._receive = receive
        self._send = send
        self._patience_s = patience_s
        self._loop = loop = asyncio.get_running_loop()
        self._work = asyncio.current_task(loop)
        self.began_s = self._heard_s = loop.time()
        self._body: bytes | None = None
        self._read = self._answered = self._stalled = self._departed = self.over = False
        self._end: asyncio.Event | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        latecomers.expect(self, loop)

    async def read_body(self, check_size: Callable[[int], None]) -> bytes:
        """The whole body; `check_size` may raise at the number of bytes so far.

        Raises:
            BodyStalled: nothing arrived for as long as patience lasts.
            ClientDisconnect: the caller left.
        """
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._next_message()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            check_size(size)
            more = message.get("more_body", False)
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._body

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run `app`; cancel it and raise ClientDisconnect when the caller leaves before the answer is whole."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(WATCHED_AFTER_S, self.look)
        try:
            await app(scope, self._hand_in, self._pass_on)
        except asyncio.CancelledError:
            if self._departed:
                raise ClientDisconnect from None
            raise

    def end(self) -> None:
        """The answer is whole, or there will be none."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._departed and self._work is not None:
            self._work.uncancel()
        # It is still expected: all that this request held would lie there until it is due.
        del self._receive, self._send, self._work, self._body

    async def _next_message(self) -> Message:
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._stalled and self._work is not None:
                self._work.uncancel()
                raise BodyStalled(f"nothing arrived for {self._patience_s:g} seconds") from None
            raise
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._heard_s = self._loop.time()
        return message

    def look(self) -> None:
        """This takes longer than most."""
        if self._body is not None:
            self._watcher = self._loop.create_task(self._listen())
        elif (left_s := self._heard_s + self._patience_s - self._loop.time()) > 0:
            self._timer = self._loop.call_later(left_s, self.look)
        elif self._work is not None:
            self._stalled = True
            self._work.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answered and self._work is not None:
            self._departed = True
            self._work.cancel()

    async def _hand_in(self) -> Message:
        """The application's `receive`: the body, once; then nothing but the end."""
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body or b"", "more_body": False}
        if not self._answered:
            self._end = self._end or asyncio.Event()
            await self._end.wait()
        return {"type": "http.disconnect"}

    async def _pass_on(self, message: Message) -> None:
        """The application's `send`."""
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
            if self._end is not None:
                self._end.set()


class Latecomers:
    """Looks at every exchange once, between `delay_s` and half as much again after it began, with one timer for all."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._expected: deque[Exchange] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def expect(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Look at `exchange` when it is time."""
        if loop is not self._loop:  # an application may outlive the loop that it was first run on
            self._loop = loop
            self._expected.clear()
        if not self._expected:
            loop.call_later(self._delay_s, self._look_at_due, loop)
        self._expected.append(exchange)

    def _look_at_due(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        began_s = loop.time() - self._delay_s
        while self._expected and self._expected[0].began_s <= began_s:
            if not (exchange := self._expected.popleft()).over:
                exchange.look()
        if self._expected:  # most end before they are due: a timer for each moment would wake the loop for nothing
            loop.call_later(self._delay_s / 2, self._look_at_due, loop)
