"""Who and what is let in: headers, keys, and whole bodies under the cap; and callers that leave are noticed.

A body is read here, whole, before anything else runs: every operation needs all of it, and this way one place holds
the cap and the patience, and afterwards the only thing that a caller can still say is goodbye.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.dialects import OPEN_INFERENCE, address
from app.api.exchange import WATCHED_AFTER_S, Exchange, Latecomers
from app.api.keys import KeyFile
from app.api.problems import problem_response
from app.errors import (
    FieldError,
    HeadersTooLarge,
    LatentServeError,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
    shorten,
)

MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 2**10
BODY_PATIENCE_S = 10.0

BODY = "latentserve.body"
"""Where the scope holds the whole body."""

HEADERS = "latentserve.headers"
"""Where the scope holds its headers as `Fields`."""

PROTECTED = ("/v1/", OPEN_INFERENCE)
HEALTH = f"{OPEN_INFERENCE}/health/"
"""Health, documentation and problem pages need no key."""


class Fields(dict[str, str]):
    """Headers by lower-case name, each decoded once; the last of a name counts. `[]` takes a name in any case."""

    @classmethod
    def of(cls, scope: Scope) -> Fields:
        """The headers of a request."""
        return cls({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())


class Admission:
    """ASGI middleware: refuses before any work is done; runs the rest with the body in memory.

    Keys are asked for under `/v1/` and `/v2` when there is a file of them; those of the admin file open that too, and
    mark their requests as an administrator's. Operations are cancelled when their caller leaves.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        api_keys: KeyFile | None = None,
        admin_keys: KeyFile | None = None,
        max_body_bytes: int,
        body_patience_s: float = BODY_PATIENCE_S,
    ) -> None:
        self.app = app
        self.api_keys = api_keys
        self.admin_keys = admin_keys
        self.max_body_bytes = max_body_bytes
        self.body_patience_s = body_patience_s
        self._latecomers = Latecomers(min(WATCHED_AFTER_S, body_patience_s))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope[HEADERS] = Fields.of(scope)
        exchange = Exchange(receive, send, patience_s=self.body_patience_s, latecomers=self._latecomers)
        try:
            _check_head(scope, headers)
            self._check_key(scope, headers)
            self._check_length(_content_length(headers))
            scope[BODY] = await exchange.read_body(self._check_length)
        except LatentServeError as error:
            exchange.end()
            allow = {"Allow": "GET, HEAD, POST, OPTIONS"} if isinstance(error, MethodNotAllowed) else None
            await problem_response(scope, error, allow)(scope, receive, send)
        else:
            await exchange.run(self.app, scope)
        finally:
            exchange.end()

    def _check_key(self, scope: Scope, headers: Fields) -> None:
        path, state = address(scope), scope.setdefault("state", {})
        if not path.startswith(PROTECTED) or path.startswith(HEALTH):
            return
        scheme, _, word = headers.get("authorization", "").partition(" ")
        key = word.strip() if scheme.lower() == "bearer" else ""
        admin = self.admin_keys.holder(key) if self.admin_keys and key else None
        name = admin or (self.api_keys.holder(key) if self.api_keys and key else None)
        if self.api_keys and name is None:
            raise Unauthorized("send a known key as Authorization: Bearer")
        state |= {"key_name": name or "-", "admin": admin is not None}

    def _check_length(self, size: int) -> None:
        if size > self.max_body_bytes:
            detail = f"at most {self.max_body_bytes} bytes are read"
            raise PayloadTooLarge(detail, errors=[FieldError("", detail, limit=self.max_body_bytes)])


def _check_head(scope: Scope, headers: Fields) -> None:
    raw = scope["headers"]
    size = hosts = 0
    for name, value in raw:
        size += len(name) + len(value)
        hosts += name == b"host"
    if len(raw) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"at most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are read")
    if hosts != 1 and scope.get("http_version") != "1.0":
        raise RequestError("exactly one Host header is needed")
    if scope["method"] in ("TRACE", "CONNECT"):
        raise MethodNotAllowed("this service takes GET, HEAD, POST and OPTIONS")
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity" and not address(scope).startswith(OPEN_INFERENCE):
        raise UnsupportedMediaType(f"bodies are read as they are, not as {shorten(encoding)}")


def _content_length(headers: Fields) -> int:
    claimed = headers.get("content-length", "0")
    if not (claimed.isascii() and claimed.isdigit() and len(claimed) < 20):
        raise RequestError(f"Content-Length must be a whole number, got {shorten(claimed)}")
    return int(claimed)
