"""Outermost: every request gets an id, a line in the log and a place in the metrics; what escapes becomes a problem."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_response
from app.errors import LatentServeError, shorten
from app.telemetry import Metrics, request_id

CLIENT_LEFT = 499
"""What the log and the metrics call a request whose caller did not wait; never sent."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Pages set a policy of their own; nothing else may load or run anything."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger(__name__)


class Accounting:
    """ASGI middleware: request ids, access log, metrics, security headers, and the last resort for exceptions."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and account for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _identity(scope)
        token = request_id.set(identity)
        start = time.perf_counter()
        answer = _Answer(send, identity, bodyless=scope["method"] == "HEAD")
        # Whoever can GET can HEAD: the answer is the same without its body.
        inner = {**scope, "method": "GET", "state": dict(scope.get("state", {}))} if answer.bodyless else scope
        try:
            await self._answer(inner, receive, answer)
        finally:
            self._account(inner, scope["method"], answer.status, time.perf_counter() - start)
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = CLIENT_LEFT
        except Exception:
            logger.exception("a request failed")
            if answer.started:
                raise
            failure = LatentServeError("the service failed; the log knows this request by its id")
            await problem_response(scope, failure)(scope, receive, answer.send)

    def _account(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        known = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self.metrics.count_request(route=route, method=known, status=status, seconds=seconds)
        state: dict[str, Any] = scope.get("state", {})
        if status >= 400:
            self.metrics.count_rejection(
                "client-left" if status == CLIENT_LEFT else state.get("problem_code", str(status))
            )
        fields = {"method": shorten(method), "path": shorten(scope["path"], 256), "status": status}
        fields |= {"duration_ms": round(seconds * 1000, 2), "key": state.get("key_name", "-")}
        level = logging.DEBUG if route in ("/livez", "/readyz", "/metrics") and status < 400 else logging.INFO
        logger.log(level, "answered", extra={"fields": fields})


class _Answer:
    """The way out: adds the headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, identity: str, *, bodyless: bool) -> None:
        self._send = send
        self._identity = identity
        self.bodyless = bodyless
        self.started = False
        self.status = CLIENT_LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._identity
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        elif self.bodyless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _identity(scope: Scope) -> str:
    """The caller's id where it is a short plain word; else one of ours."""
    wished = Headers(scope=scope).get("x-request-id", "")
    return wished if _REQUEST_ID.fullmatch(wished) else uuid.uuid4().hex
