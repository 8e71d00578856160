"""Calls of an operation (`POST /v1/models/{model}/<operation>`) without a framework's ceremony.

FastAPI declares the operations: their parameters, their documentation. Solving the same declarations anew for every
request is most of what a small request costs, so here each is read once, into a plan, and a call is found by its name
in a dictionary. Both ways answer alike: FastAPI still serves whatever is not found here, and a test compares them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from fastapi import params
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.admission import BODY, HEADERS, Fields
from app.api.declared import Router
from app.api.problems import invalid_fields, problem_response
from app.errors import LatentServeError

PREFIX = "/v1/models/"
OPERATION = PREFIX + "{model}/"

Take = Callable[[Request], Any]


class Call(Request):
    """A request whose headers and body have been read."""

    @property
    def headers(self) -> Fields:  # type: ignore[override]
        """By lower-case name; of Starlette's type only looking names up is used here."""
        fields: Fields = self.scope[HEADERS]
        return fields

    async def body(self) -> bytes:
        """The whole body."""
        body: bytes = self.scope[BODY]
        return body


@dataclass(frozen=True, slots=True)
class _Step:
    """One function to call: what is read from the request for it, and what earlier steps provide."""

    function: Callable[..., Any]
    taken: tuple[tuple[str, Take], ...]
    provided: tuple[tuple[str, int], ...]
    """By the place of the step that provides it."""


class Plan:
    """How to call an operation: the functions that it depends on, each once, in order, and itself last.

    Reads signatures in FastAPI's vocabulary: Request, Depends, a Query model, Path, Header. All functions are async, as
    FastAPI would run others in a thread. Raises TypeError for anything else, when the application is made.
    """

    def __init__(self, operation: Callable[..., Awaitable[Response]]) -> None:
        self._steps: list[_Step] = []
        self._add(operation)

    async def call(self, request: Request) -> Response:
        """The operation's answer."""
        found: list[Any] = []
        for step in self._steps:
            arguments = {name: take(request) for name, take in step.taken}
            for name, place in step.provided:
                arguments[name] = found[place]
            found.append(await step.function(**arguments))
        response: Response = found[-1]
        return response

    def _add(self, function: Callable[..., Any]) -> int:
        """Plan `function`, after what it depends on; its place among the steps."""
        for place, step in enumerate(self._steps):
            if step.function is function:
                return place
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function} is not async")
        hints = get_type_hints(function, include_extras=True)
        taken: list[tuple[str, Take]] = []
        provided: list[tuple[str, int]] = []
        for name in inspect.signature(function).parameters:
            if (dependency := _dependency(hints[name])) is not None:
                provided.append((name, self._add(dependency)))
            else:
                taken.append((name, _take(name, hints[name])))
        self._steps.append(_Step(function, tuple(taken), tuple(provided)))
        return len(self._steps) - 1


def _dependency(hint: Any) -> Callable[..., Any] | None:  # noqa: ANN401  a type hint can be anything
    markers = getattr(hint, "__metadata__", ())
    return next((marker.dependency for marker in markers if isinstance(marker, params.Depends)), None)


def _take(name: str, hint: Any) -> Take:  # noqa: ANN401  as above
    if hint is Request:
        return lambda request: request
    for marker in getattr(hint, "__metadata__", ()):
        match marker:
            case params.Path():
                return lambda request: request.path_params[name]
            case params.Header():
                header = name.replace("_", "-")
                return lambda request: request.headers.get(header)
            case params.Query() if issubclass(hint.__origin__, BaseModel):
                kind: type[BaseModel] = hint.__origin__
                unsaid = kind()
                return lambda request: _options(request, kind) if request.scope["query_string"] else unsaid
    raise TypeError(f"an operation cannot be called with {name}: {hint}")


def _options(request: Request, kind: type[BaseModel]) -> BaseModel:
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [{**item, "loc": ("query", *item["loc"])} for item in error.errors(include_url=False)]
        raise invalid_fields(found) from None


@dataclass(frozen=True, slots=True)
class _Operation:
    path: str
    """The template, as the metrics name it."""
    plan: Plan


class Dispatch:
    """ASGI middleware: calls operations directly and hands everything else on.

    Probes apart, what it hands on is for routes that the application may not have read yet.
    """

    def __init__(self, app: ASGIApp, *, routers: Iterable[Router], is_probe: Callable[[Scope], bool]) -> None:
        self.app = app
        self.is_probe = is_probe
        self.operations: Mapping[str, _Operation] = {
            route.path.removeprefix(OPERATION): _Operation(route.path, Plan(route.endpoint))
            for router in routers
            for route in router.declarations
            if route.path.startswith(OPERATION) and route.methods == {"POST"}
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        model, _, name = scope["path"][len(PREFIX) :].partition("/") if _is_call(scope) else ("", "", "")
        operation = self.operations.get(name)
        if operation is None or not model:
            if scope["type"] == "http" and not self.is_probe(scope):
                scope["app"].complete()
            await self.app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = operation, {"model": model}
        try:
            response = await operation.plan.call(Call(scope, receive))
        except LatentServeError as error:
            response = problem_response(scope, error)
        await response(scope, receive, send)


def _is_call(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and bool(scope["path"].startswith(PREFIX))
