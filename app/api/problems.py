"""Errors as `application/problem+json` (RFC 9457): ours, the framework's refusals, and failed validations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.api.dialects import dialect_of
from app.errors import (
    BodyStalled,
    CapabilityNotOffered,
    FieldError,
    InvalidInput,
    LatentServeError,
    MethodNotAllowed,
    ModelRejected,
    NotFound,
    PayloadTooLarge,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
    shorten,
)
from app.telemetry import request_id

PROBLEM_MEDIA_TYPE = "application/problem+json"

MAX_FIELD_ERRORS = 20
"""More would not help a reader, and a body of wrong numbers could ask for a million."""

POINT_TAGS = frozenset({"<latent>", "<seed>", "<image>", "<mean>", "<images>", "<direction>", "<dimension>"})
"""How the kinds of Point and of receipt show in pydantic's error locations; they are no part of the body."""


class WrongField(BaseModel):
    """One wrong field."""

    model_config = ConfigDict(extra="forbid")

    pointer: str
    detail: str
    limit: float | None = None
    index: int | None = None


class Problem(BaseModel):
    """What every error answers (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[WrongField] | None = None
    capabilities: list[str] | None = None


def problem_kinds(root: type[LatentServeError] = LatentServeError) -> dict[str, type[LatentServeError]]:
    """Every problem that can reach a client, by slug."""
    kinds = {root.code: root}
    for kind in root.__subclasses__():
        if kind is not ModelRejected:
            kinds |= {code: owner for code, owner in problem_kinds(kind).items() if code not in kinds}
    return kinds


def problem(error: LatentServeError) -> dict[str, Any]:
    """The body of `error`'s answer."""
    body: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id.get(),
    }
    if error.errors:
        body["errors"] = [_wrong_field(field) for field in error.errors]
    if isinstance(error, CapabilityNotOffered):
        body["capabilities"] = list(error.capabilities)
    return body


def _wrong_field(field: FieldError) -> dict[str, Any]:
    found = {"pointer": field.pointer, "detail": field.detail, "limit": field.limit, "index": field.index}
    return {name: value for name, value in found.items() if value is not None}


def problem_response(scope: Scope, error: LatentServeError, headers: Mapping[str, str] | None = None) -> Response:
    """`error` as an answer to a request, in the form of its address, with the headers that its kind calls for."""
    scope.setdefault("state", {})["problem_code"] = error.code
    if (dialect := dialect_of(scope)) is not None:
        (status, content), media_type = dialect(error), "application/json"
    else:
        status, content, media_type = error.status, problem(error), PROBLEM_MEDIA_TYPE
    body = json.dumps(content, ensure_ascii=True, allow_nan=False).encode()
    return Response(body, status, media_type=media_type, headers=_headers_of(error) | dict(headers or {}))


def _headers_of(error: LatentServeError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_s is not None or error.status == 503:
        headers["Retry-After"] = str(error.retry_after_s or 1)
    match error:
        case UnsupportedMediaType() if error.accepted:
            headers["Accept-Post"] = ", ".join(error.accepted)
        case Unauthorized():
            headers["WWW-Authenticate"] = 'Bearer realm="LatentServe"'
        case PayloadTooLarge() | BodyStalled():
            # The rest of the body may still be on its way: there is no next request to read after it.
            headers["Connection"] = "close"
    return headers


def add_problem_handlers(application: FastAPI) -> None:
    """Let `application` answer our errors, the framework's refusals and failed validations as problems."""
    application.add_exception_handler(LatentServeError, _answer_own)
    application.add_exception_handler(RequestValidationError, _answer_validation)
    application.add_exception_handler(HTTPException, _answer_http)


async def _answer_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, LatentServeError)  # noqa: S101  the framework hands over what it was registered for
    return problem_response(request.scope, error)


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as above
    return problem_response(request.scope, invalid_fields(error.errors()))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    return problem_response(request.scope, _from_http(error), error.headers)


def _from_http(error: HTTPException) -> LatentServeError:
    match error.status_code:
        case 404:
            return NotFound("nothing lives at this address; /docs lists what does")
        case 405:
            return MethodNotAllowed("this address does not take that method; see Allow")
        case _:
            return RequestError(shorten(error.detail))


def invalid_fields(found: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """What pydantic found wrong, as one error with JSON pointers, short quotations and the limits."""
    errors = [_field_error(item) for item in found[:MAX_FIELD_ERRORS]]
    first = errors[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return InvalidInput(f"{first.pointer or '/'}: {first.detail}{more}", errors=errors)


def _field_error(item: Mapping[str, Any]) -> FieldError:
    context: Mapping[str, Any] = item.get("ctx") or {}
    limits = (context[name] for name in ("le", "lt", "ge", "gt", "max_length", "min_length") if name in context)
    value = item.get("input")
    quoted = f", got {shorten(value)}" if isinstance(value, str | int | float) else ""
    return FieldError(pointer_to(item["loc"]), item["msg"] + quoted, limit=next(limits, None))


def pointer_to(location: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901) to a pydantic location; no part is longer than a quotation may be."""
    parts = (shorten(part) for part in location if part not in POINT_TAGS)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
