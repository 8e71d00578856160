"""The form that an error takes where callers speak another protocol than ours: by address, decided in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import Scope

from app.errors import LatentServeError

OPEN_INFERENCE = "/v2"
OPENAI_IMAGES = "/v1/images/generations"

Dialect = Callable[[LatentServeError], tuple[int, dict[str, Any]]]
"""An error's status and body."""


def address(scope: Scope) -> str:
    """The path below where this application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def dialect_of(scope: Scope) -> Dialect | None:
    """The dialect of a request's address; None where errors are problems."""
    path = address(scope)
    if path == OPEN_INFERENCE or path.startswith(OPEN_INFERENCE + "/"):
        return open_inference
    return openai if path == OPENAI_IMAGES else None


def open_inference(error: LatentServeError) -> tuple[int, dict[str, Any]]:
    """A sentence: clients of the Open Inference Protocol fail on anything but a string."""
    return status_of(error), {"error": error.detail}


def openai(error: LatentServeError) -> tuple[int, dict[str, Any]]:
    """The error object of OpenAI's API; `param` is the first wrong field."""
    pointer = error.errors[0].pointer.removeprefix("/") if error.errors else ""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    code = error.code.replace("-", "_")
    return status_of(error), {"error": {"message": error.detail, "type": kind, "param": pointer or None, "code": code}}


def status_of(error: LatentServeError | type[LatentServeError]) -> int:
    """An error's status in both dialects, which call every value that is not accepted 400.

    So they do a conflict, which clients of OpenAI's API would try again and again.
    """
    return 400 if error.status in (409, 422) else error.status
