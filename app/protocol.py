"""HTTP/1.1 on a connection: uvicorn's protocol, but a whole answer leaves in one piece.

uvicorn checks every header with two regular expressions, writes the head of an answer and then its body: two system
calls, two packets, two wakeups of the client. An application that answers whole bodies needs none of it.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_LEFT_TO_UVICORN = frozenset({b"connection", b"transfer-encoding"})


class Protocol(HttpToolsProtocol):
    """One connection."""

    def on_headers_complete(self) -> None:
        """A request begins."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.send = _Answer(self.cycle).send  # type: ignore[method-assign]


class _Answer:
    """Keeps the head of an answer back until its body: where that is the whole of it, both leave together."""

    __slots__ = ("_cycle", "_start")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
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
        length = None
        parts = [STATUS_LINE[status]]
        headers = [*cycle.default_headers, *start["headers"]]
        for name, value in headers:
            if name == b"content-length":
                length = value
            elif name in _LEFT_TO_UVICORN:
                return None
            parts += (name, b": ", value, b"\r\n")
        if length != b"%d" % len(message.get("body", b"")):
            return None
        parts.append(b"\r\n")
        head = b"".join(parts)
        if not head.count(b"\n") == head.count(b"\r") == len(headers) + 2:
            raise RuntimeError("a header of the answer holds a line break")
        return head

    def _write(self, head: bytes, body: bytes) -> None:
        """As uvicorn ends an answer after which the connection goes on."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.writelines((head, body))
        cycle.message_event.set()
        cycle.on_response()
        del cycle.send  # or the two would keep each other until the garbage collector comes
