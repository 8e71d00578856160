"""Outermost: every request gets an id, a line in the log and a place in the metrics; what escapes becomes a problem."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from typing import Any, Literal

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.api.problems import problem_response
from app.errors import LatentServeError, shorten
from app.telemetry import Metrics, request_id

CLIENT_LEFT = 499
"""What the log and the metrics call a request whose caller did not wait; never sent."""

AccessLog = Literal["all", "errors"]

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""Pages set a policy of their own; nothing else may load or run anything."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger(__name__)


class Accounting:
    """ASGI middleware: request ids, access log, metrics, security headers, and the last resort for exceptions."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, access_log: AccessLog = "all") -> None:
        self.app = app
        self.metrics = metrics
        self.logs_everything = access_log == "all"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and account for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _identity(scope)
        token = request_id.set(identity)
        start = time.perf_counter()
        bodyless = scope["method"] == "HEAD"
        # Whoever can GET can HEAD: the answer is the same without its body.
        inner = {**scope, "method": "GET", "state": dict(scope.get("state", {}))} if bodyless else scope
        answer = _Answer(inner, send, identity, bodyless=bodyless)
        try:
            await self.app(inner, receive, answer.send)
        except ClientDisconnect:
            answer.status = CLIENT_LEFT
        except Exception:
            logger.exception("a request failed")
            if answer.started:
                raise
            failure = LatentServeError("the service failed; the log knows this request by its id")
            await problem_response(inner, failure)(inner, receive, answer.send)
        finally:
            self._account(inner, scope["method"], answer.status, time.perf_counter() - start)
            request_id.reset(token)

    def _account(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = _route(scope) or "unmatched"
        self.metrics.count_request(route=route, method=_known(method), status=status, seconds=seconds)
        if status >= 400:
            state: dict[str, Any] = scope.get("state", {})
            self.metrics.count_rejection(
                "client-left" if status == CLIENT_LEFT else state.get("problem_code", str(status))
            )
        if status >= 400 or self.logs_everything:
            _log(scope, method, route, status, seconds)


def _route(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"


def _log(scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
    fields = {"method": shorten(method), "path": shorten(scope["path"], 256), "status": status}
    fields |= {"duration_ms": round(seconds * 1000, 2), "key": scope.get("state", {}).get("key_name", "-")}
    level = logging.DEBUG if route in ("/livez", "/readyz", "/metrics") and status < 400 else logging.INFO
    logger.log(level, "answered", extra={"fields": fields})


class _Answer:
    """The way out: adds the headers that every answer has, and remembers its status."""

    def __init__(self, scope: Scope, send: Send, identity: str, *, bodyless: bool) -> None:
        self._scope = scope
        self._send = send
        self._identity = identity.encode()
        self.bodyless = bodyless
        self.started = False
        self.status = CLIENT_LEFT

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = [*message["headers"], (b"x-request-id", self._identity), *SECURITY_HEADERS]
            if CONTENT_POLICY[0] not in dict(headers):
                headers.append(CONTENT_POLICY)
            message["headers"] = headers
            if tracing.TRACED in self._scope:
                tracing.describe_request(_known(self._scope["method"]), _route(self._scope), self._identity.decode())
        elif self.bodyless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


_PROCESS = secrets.token_hex(8)
_NUMBERS = itertools.count(1)


def _identity(scope: Scope) -> str:
    """The caller's id where it is a short plain word; else one of ours."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(wished := value.decode("latin-1")):
            return str(wished)
    return f"{_PROCESS}-{next(_NUMBERS):x}"  # no other process makes it, nor this one twice
