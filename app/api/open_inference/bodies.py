"""Bodies of `/v2`, in and out, whatever is in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from app.api.open_inference.compression import decompress
from app.api.open_inference.envelope import IndexRequest, RepositoryRequest
from app.api.payloads import LARGE_BODY_BYTES
from app.api.problems import invalid_fields
from app.api.service import Service
from app.runtime.threads import in_thread

T = TypeVar("T")
M = TypeVar("M", IndexRequest, RepositoryRequest)


async def plain_body(request: Request, service: Service) -> bytes:
    """The body without its `Content-Encoding`, under the same cap."""
    body, coding = await request.body(), request.headers.get("content-encoding", "identity")
    if coding.strip().lower() == "identity":
        return body
    return await off_loop(partial(decompress, body, coding, service.limits.body_bytes), LARGE_BODY_BYTES)


async def off_loop(work: Callable[[], T], size: int) -> T:
    """`work()`, in a thread where `size` bytes are so many that the event loop would stand still."""
    return work() if size < LARGE_BODY_BYTES else await in_thread(work)


def json_answer(content: Any, status: int = 200) -> Response:  # noqa: ANN401  a document of any form
    """A document as an answer that nobody keeps."""
    return Response(to_json(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})


def read_message(body: bytes, kind: type[M]) -> M:
    """A body of JSON, or none at all, which means its defaults."""
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False)) from None
