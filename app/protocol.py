"""HTTP/1.1 on a connection: uvicorn's protocol, but a whole answer leaves in one piece, and answers leave together.

uvicorn checks every header with two regular expressions, writes the head of an answer and then its body: two system
calls, two packets, two wakeups of the client. An application that answers whole bodies needs none of it. And what a
batch answers, it answers to many at once: a client that is woken for each of them costs this process more than its own
call does, so the answers of one turn of the event loop are written in one go, at its end.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_LEFT_TO_UVICORN = frozenset({b"connection", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._departures = _departures_of(self.loop)
        self._idle_since_s: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def on_headers_complete(self) -> None:
        """A request begins."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.send = _Answer(self.cycle, self._departures).send  # type: ignore[method-assign]

    def on_response_complete(self) -> None:
        """An answer is whole; the connection may now be idle, but most are not for long: their timer is kept."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for long enough."""
        self._idle_timer = None
        if self._idle_since_s is None:
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The server ends: close the connection, now or after the answer that is being made."""
        self._departures.leave()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP: say so, after what was answered before, and close the connection."""
        self._departures.leave()
        super().send_400_response(msg)


class _Departures:
    """Answers that wait for the others of this turn of the event loop."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, tuple[bytes, bytes]]] = []

    def add(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Write an answer at the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self.leave)
        self._waiting.append((transport, (head, body)))

    def leave(self) -> None:
        """Write what waits, in the order of the answers."""
        waiting, self._waiting = self._waiting, []
        for transport, pieces in waiting:
            if not transport.is_closing():
                transport.writelines(pieces)


@lru_cache(maxsize=1)  # a process serves with one loop, and only tests with another afterwards
def _departures_of(loop: asyncio.AbstractEventLoop) -> _Departures:
    return _Departures(loop)


class _Answer:
    """Keeps the head of an answer back until its body: where that is the whole of it, both leave together."""

    __slots__ = ("_cycle", "_departures", "_start")

    def __init__(self, cycle: RequestResponseCycle, departures: _Departures) -> None:
        self._cycle = cycle
        self._departures = departures
        self._start: Any = None

    async def send(self, message: Any) -> None:  # noqa: ANN401  one of ASGI's messages
        """ASGI's `send`."""
        cycle = self._cycle
        if message["type"] == "http.response.start" and not cycle.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if cycle.flow.write_paused and not cycle.disconnected:
                await cycle.flow.drain()
            if cycle.disconnected:
                return
            if (head := self._head_of_whole(start, message)) is not None:
                self._write(head, message.get("body", b""))
                return
            await RequestResponseCycle.send(cycle, start)
        await RequestResponseCycle.send(cycle, message)

    def _head_of_whole(self, start: Any, message: Any) -> bytes | None:  # noqa: ANN401  as above
        """The bytes before the body; None where there is more to an answer than a head and a body of that length.

        Raises RuntimeError where a header would break out of its line.
        """
        cycle, status = self._cycle, start["status"]
        whole = cycle.keep_alive and not message.get("more_body", False) and cycle.scope["method"] != "HEAD"
        if not whole or cycle.access_log or status in (204, 304):
            return None
        headers = [*cycle.default_headers, *start["headers"]]
        named = dict(headers)
        if named.get(b"content-length") != b"%d" % len(message["body"]) or not _LEFT_TO_UVICORN.isdisjoint(named):
            return None
        head = STATUS_LINE[status] + b"\r\n".join(map(b": ".join, headers)) + b"\r\n\r\n"
        if not head.count(b"\n") == head.count(b"\r") == len(headers) + 2:
            raise RuntimeError("a header of the answer holds a line break")
        return head

    def _write(self, head: bytes, body: bytes) -> None:
        """As uvicorn ends an answer after which the connection goes on."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._departures.add(cycle.transport, head, body)
        cycle.message_event.set()
        cycle.on_response()
        del cycle.send  # or the two would keep each other until the garbage collector comes
