"""Admission and accounting, driven message by message: caps, patience, callers that leave, and the last resort."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.accounting import Accounting
from app.api.admission import Admission
from app.telemetry import Metrics

HOST = (b"host", b"test")
LEFT: Message = {"type": "http.disconnect"}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


@dataclass
class Caller:
    """One connection: what it says, in order (then silence), and what it was answered."""

    says: Sequence[Message] = (body(b""),)
    headers: Sequence[tuple[bytes, bytes]] = (HOST,)
    method: str = "POST"
    heard: list[Message] = field(default_factory=list)
    read: int = 0

    async def receive(self) -> Message:
        if self.read == len(self.says):
            await asyncio.Event().wait()
        self.read += 1
        return self.says[self.read - 1]

    async def send(self, message: Message) -> None:
        self.heard.append(message)

    def call(self, app: ASGIApp) -> dict[str, Any]:
        """The headers, status and JSON of the answer."""
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": self.method,
            "path": "/v1/x",
            "headers": list(self.headers),
        }
        asyncio.run(app(scope, self.receive, self.send))  # type: ignore[arg-type]
        if not self.heard:
            return {}
        start, end = self.heard
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return {"status": start["status"], "headers": headers, "body": end["body"]}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it was sent."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def admitted(app: ASGIApp = echo, **options: Any) -> Admission:
    return Admission(app, **{"max_body_bytes": 8} | options)


def test_body_arrives_whole() -> None:
    assert Caller([body(b"abc", more=True), body(b"def")]).call(admitted())["body"] == b"abcdef"


def test_body_over_the_cap_is_refused_by_its_length_before_it_is_read() -> None:
    caller = Caller([body(b"123456789")], [HOST, (b"content-length", b"9")])
    assert caller.call(admitted())["status"] == 413
    assert caller.read == 0


def test_body_over_the_cap_is_refused_when_it_comes_in_pieces() -> None:
    caller = Caller([body(b"12345", more=True)] * 10)
    answer = caller.call(admitted())
    assert (answer["status"], answer["headers"]["connection"], caller.read) == (413, "close", 2)
    assert json.loads(answer["body"])["errors"][0]["limit"] == 8


def test_body_that_stalls_is_given_up() -> None:
    answer = Caller([body(b"1", more=True)]).call(admitted(body_patience_s=0.01))
    assert (answer["status"], answer["headers"]["connection"]) == (408, "close")


@pytest.mark.parametrize("length", [b"-1", b"abc", b"1e3", b"", b"9" * 400, "٣".encode()])
def test_senseless_content_length_is_refused(length: bytes) -> None:
    assert Caller(headers=[HOST, (b"content-length", length)]).call(admitted())["status"] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([HOST, HOST], 400),
        ([HOST] + [(b"x-a", b"1")] * 100, 431),
        ([HOST, (b"x-a", b"1" * 16384)], 431),
    ],
)
def test_odd_headers_are_refused(headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert Caller(headers=headers).call(admitted())["status"] == status


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_method_of_proxies_is_refused(method: str) -> None:
    answer = Caller(method=method).call(admitted())
    assert (answer["status"], answer["headers"]["allow"]) == (405, "GET, HEAD, POST, OPTIONS")


def test_work_is_cancelled_when_its_caller_leaves() -> None:
    cancelled = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ClientDisconnect):
        Caller([body(b""), LEFT]).call(admitted(endless))
    assert cancelled == [True]


def test_caller_may_leave_once_it_has_the_answer() -> None:
    finished = []

    async def tidy(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        await asyncio.sleep(0)
        finished.append(await receive())

    Caller([body(b"hi"), LEFT]).call(admitted(tidy))
    assert finished == [LEFT]


def accounted(app: ASGIApp) -> tuple[Accounting, Callable[[], str]]:
    metrics = Metrics()
    return Accounting(app, metrics=metrics), lambda: metrics.render().decode()


def test_caller_that_leaves_halfway_is_accounted_for_and_gets_no_answer() -> None:
    app, numbers = accounted(admitted())
    caller = Caller([body(b"1", more=True), LEFT])
    assert caller.call(app) == {}
    assert 'status="499"' in numbers()
    assert 'latentserve_rejected_total{reason="client-left"} 1.0' in numbers()


def test_fault_of_ours_is_a_problem_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret /srv/models")

    app, numbers = accounted(faulty)
    answer = Caller().call(app)
    assert (answer["status"], json.loads(answer["body"])["code"]) == (500, "internal-error")
    assert b"secret" not in answer["body"]
    assert 'latentserve_rejected_total{reason="internal-error"} 1.0' in numbers()
    assert "secret" in caplog.text


def test_every_answer_has_the_security_headers_and_its_id() -> None:
    app, _ = accounted(admitted())
    headers = Caller(headers=[HOST, (b"x-request-id", b"my.id-1")]).call(app)["headers"]
    assert headers["x-request-id"] == "my.id-1"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
