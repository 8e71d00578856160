"""Answers on a connection, against what uvicorn's own protocol writes for the same messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.protocol import Protocol

GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
BODY: Message = {"type": "http.response.body", "body": b"hello"}
LAST: Message = {**BODY, "body": b"LO"}


def answering(*messages: Message) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return application


class Wire(asyncio.Transport):
    """What was written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        if data and not self.closed:
            self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def connected(
    kind: type[HttpToolsProtocol], application: ASGIApp, loop: asyncio.AbstractEventLoop | None = None
) -> tuple[HttpToolsProtocol, Wire]:
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=5)
    config.load()
    protocol, wire = kind(config=config, server_state=ServerState(), app_state={}, _loop=loop), Wire()
    protocol.connection_made(wire)
    return protocol, wire


def written(kind: type[HttpToolsProtocol], application: ASGIApp, request: bytes = GET) -> Wire:
    async def talk() -> Wire:
        protocol, wire = connected(kind, application)
        protocol.data_received(request)
        while protocol.tasks:
            await asyncio.gather(*protocol.tasks)
        protocol.connection_lost(None)
        return wire

    return asyncio.run(talk())


def test_protocol_writes_a_whole_answer_at_once() -> None:
    ours, uvicorns = (written(kind, answering(START, BODY)) for kind in (Protocol, HttpToolsProtocol))

    assert len(ours.writes) == 1
    assert ours.writes[0] == b"".join(uvicorns.writes)


@pytest.mark.parametrize(
    ("messages", "request_bytes"),
    [
        ([START, BODY], GET.replace(b"GET", b"HEAD")),
        ([START, BODY], GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")),
        ([START, BODY], GET.replace(b"HTTP/1.1", b"HTTP/1.0")),
        ([START, {**BODY, "body": b"hel", "more_body": True}, {**BODY, "body": b"lo"}], GET),
        ([{**START, "headers": []}, BODY], GET),
        ([{**START, "status": 304, "headers": []}, {**BODY, "body": b""}], GET),
        ([{**START, "headers": [*START["headers"], (b"connection", b"close")]}, BODY], GET),
        ([START, BODY], GET * 3),
    ],
    ids=["HEAD", "close", "HTTP/1.0", "pieces", "no length", "304", "application closes", "pipelined"],
)
def test_protocol_answers_like_uvicorn(messages: list[Message], request_bytes: bytes) -> None:
    ours, uvicorns = (written(kind, answering(*messages), request_bytes) for kind in (Protocol, HttpToolsProtocol))

    assert b"".join(ours.writes) == b"".join(uvicorns.writes)
    assert ours.closed == uvicorns.closed


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_protocol_lets_no_header_break_out_of_its_line(value: bytes) -> None:
    start = {**START, "headers": [*START["headers"], (b"x-evil", value)]}

    wire = written(Protocol, answering(start, BODY))

    assert value not in b"".join(wire.writes)
    assert b"".join(wire.writes).startswith(b"HTTP/1.1 500 ")


def test_protocol_answers_500_where_an_application_fails_between_head_and_body() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise RuntimeError("in the middle")

    assert b"".join(written(Protocol, failing).writes).startswith(b"HTTP/1.1 500 ")


def test_protocol_leaves_a_length_that_is_wrong_to_uvicorn() -> None:
    wire = written(Protocol, answering(START, {**BODY, "body": b"too long"}))

    assert b"too long" not in b"".join(wire.writes)


def test_protocol_writes_the_answers_of_one_turn_together() -> None:
    wires: list[Wire] = []
    written_by_then: list[int] = []

    async def talk() -> None:
        batch = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await batch.wait()
            await send(START)
            await send(BODY)
            written_by_then.append(sum(len(wire.writes) for wire in wires))

        protocols = []
        for _ in range(3):
            protocol, wire = connected(Protocol, application)
            protocol.data_received(GET)
            protocols.append(protocol)
            wires.append(wire)
        tasks = [task for protocol in protocols for task in protocol.tasks]
        batch.set()
        await asyncio.gather(*tasks)

    asyncio.run(talk())

    assert written_by_then == [0, 0, 0]
    assert [len(wire.writes) for wire in wires] == [1, 1, 1]


def test_protocol_keeps_the_order_of_answers_that_are_whole_and_in_pieces() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope["path"] == "/whole"
        for message in [START, BODY] if whole else [START, {**BODY, "body": b"HEL", "more_body": True}, LAST]:
            await send(message)

    requests = b"".join(GET.replace(b"/ ", path) for path in (b"/whole ", b"/pieces ", b"/whole ", b"/whole "))

    ours, uvicorns = (written(kind, application, requests) for kind in (Protocol, HttpToolsProtocol))

    assert b"".join(ours.writes) == b"".join(uvicorns.writes)


@pytest.mark.parametrize("end", ["shutdown", "nonsense"])
def test_protocol_writes_what_it_answered_before_it_closes(end: str) -> None:
    def closed_after_an_answer(kind: type[HttpToolsProtocol]) -> Wire:
        async def talk() -> Wire:
            async def application(scope: Scope, receive: Receive, send: Send) -> None:
                await send(START)
                await send(BODY)
                protocol.shutdown() if end == "shutdown" else protocol.data_received(b"\x00\r\n\r\n")

            protocol, wire = connected(kind, application)
            protocol.data_received(GET)
            await asyncio.gather(*protocol.tasks)
            return wire

        return asyncio.run(talk())

    ours, uvicorns = (closed_after_an_answer(kind) for kind in (Protocol, HttpToolsProtocol))

    assert ours.closed
    assert b"hello" in b"".join(ours.writes)
    assert b"".join(ours.writes) == b"".join(uvicorns.writes)


class Clock(asyncio.AbstractEventLoop):
    """A loop whose time is told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        self.due.append((self.now + delay, callback))
        return asyncio.TimerHandle(self.now + delay, callback, args, self)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due and min(self.due)[0] <= end:
            self.now, callback = self.due.pop(self.due.index(min(self.due)))
            callback()
        self.now = end


def test_protocol_closes_a_connection_that_stays_idle_for_as_long_as_is_kept_alive() -> None:
    clock = Clock()
    protocol, wire = connected(Protocol, answering(), clock)

    protocol.on_response_complete()
    clock.wait(4)
    protocol.data_received(b"GET")  # the beginning of another request
    clock.wait(4)
    assert not wire.closed

    protocol.on_response_complete()
    clock.wait(4.9)
    assert not wire.closed
    clock.wait(0.2)
    assert wire.closed
