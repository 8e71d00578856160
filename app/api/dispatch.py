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

from fastapi import APIRouter, params
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.admission import BODY
from app.api.problems import invalid_fields, problem_response
from app.errors import LatentServeError

PREFIX = "/v1/models/"
OPERATION = PREFIX + "{model}/"

Take = Callable[[Request], Any]


class Call(Request):
    """A request whose body has been read."""

    async def body(self) -> bytes:
        """The whole body."""
        body: bytes = self.scope[BODY]
        return body


@dataclass(frozen=True, slots=True)
class Plan:
    """How to call one function: what is read from the request for it, and what other functions provide."""

    function: Callable[..., Any]
    taken: tuple[tuple[str, Take], ...]
    provided: tuple[tuple[str, Plan], ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Plan:
        """Read a signature in FastAPI's vocabulary: Request, Depends, a Query model, Path, Header.

        Raises TypeError for a parameter of any other kind, when the application is made.
        """
        hints = get_type_hints(function, include_extras=True)
        taken: list[tuple[str, Take]] = []
        provided: list[tuple[str, Plan]] = []
        for name in inspect.signature(function).parameters:
            source = _source(name, hints[name])
            if isinstance(source, Plan):
                provided.append((name, source))
            else:
                taken.append((name, source))
        return cls(function, tuple(taken), tuple(provided))

    async def call(self, request: Request, solved: dict[Callable[..., Any], Any]) -> Any:  # noqa: ANN401
        """The function's result; within one request each function is called once."""
        if self.function in solved:
            return solved[self.function]
        arguments = {name: take(request) for name, take in self.taken}
        for name, plan in self.provided:
            arguments[name] = await plan.call(request, solved)
        result = self.function(**arguments)
        if inspect.isawaitable(result):
            result = await result
        solved[self.function] = result
        return result


def _source(name: str, hint: Any) -> Take | Plan:  # noqa: ANN401  a type hint can be anything
    if hint is Request:
        return lambda request: request
    for marker in getattr(hint, "__metadata__", ()):
        match marker:
            case params.Depends(dependency=function) if function is not None:
                return Plan.of(function)
            case params.Path():
                return lambda request: request.path_params[name]
            case params.Header():
                header = name.replace("_", "-")
                return lambda request: request.headers.get(header)
            case params.Query() if issubclass(hint.__origin__, BaseModel):
                kind: type[BaseModel] = hint.__origin__
                return lambda request: _options(request, kind)
    raise TypeError(f"an operation cannot be called with {name}: {hint}")


def _options(request: Request, kind: type[BaseModel]) -> BaseModel:
    try:
        return kind.model_validate(dict(request.query_params) if request.scope["query_string"] else {})
    except ValidationError as error:
        found = [{**item, "loc": ("query", *item["loc"])} for item in error.errors(include_url=False)]
        raise invalid_fields(found) from None


@dataclass(frozen=True, slots=True)
class _Operation:
    route: APIRoute
    run: Callable[[Request, dict[Callable[..., Any], Any]], Awaitable[Response]]


class Dispatch:
    """ASGI middleware: calls operations directly and hands everything else on."""

    def __init__(self, app: ASGIApp, *, routers: Iterable[APIRouter]) -> None:
        self.app = app
        self.operations: Mapping[str, _Operation] = {
            route.path.removeprefix(OPERATION): _Operation(route, Plan.of(route.endpoint).call)
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.path.startswith(OPERATION) and route.methods == {"POST"}
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        model, _, name = scope["path"][len(PREFIX) :].partition("/") if _is_call(scope) else ("", "", "")
        operation = self.operations.get(name)
        if operation is None or not model:
            await self.app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = operation.route, {"model": model}
        try:
            response = await operation.run(Call(scope, receive), {})
        except LatentServeError as error:
            response = problem_response(scope, error)
        await response(scope, receive, send)


def _is_call(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and bool(scope["path"].startswith(PREFIX))
