"""Routes that FastAPI reads when one of them is first asked for: reading them would be a fifth of every start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Later:
    """A part of a declaration that takes a while to make, as the schema of a body does."""

    make: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `add_api_route` was told."""

    path: str
    endpoint: Callable[..., Any]
    methods: frozenset[str]
    details: Mapping[str, Any]


class Router(APIRouter):
    """FastAPI's router, which only notes what is declared, until it is declared on an application's."""

    def __init__(self, **details: Any) -> None:  # noqa: ANN401  FastAPI's
        super().__init__(**details)
        self.declarations: list[Declaration] = []

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        **details: Any,  # noqa: ANN401  FastAPI's
    ) -> None:
        """Note a route; `get` and `post` come by here."""
        methods = frozenset(details.get("methods") or ("GET",))
        self.declarations.append(Declaration(path, endpoint, methods, details))

    def declare_on(self, router: APIRouter) -> None:
        """Add every route to `router`."""
        for declaration in self.declarations:
            details = _made(dict(declaration.details))
            details["tags"] = [*self.tags, *(details.get("tags") or ())]
            details["include_in_schema"] = self.include_in_schema and details.get("include_in_schema", True)
            router.add_api_route(declaration.path, declaration.endpoint, **details)


class Application(FastAPI):
    """FastAPI, with routers that it need not know before somebody asks for one of their routes, or for all."""

    def __init__(
        self,
        *,
        routers: Callable[[], Iterable[Router]],
        front: Sequence[Middleware] = (),
        **details: Any,  # noqa: ANN401  FastAPI's
    ) -> None:
        """`front`, first to last, sees requests before FastAPI's own middleware does, and answers most of them."""
        super().__init__(**details)
        self._routers = routers
        self._complete = False
        self._front: ASGIApp = super().__call__
        for kind, args, kwargs in reversed(front):
            self._front = kind(self._front, *args, **kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the application's life."""
        scope["app"] = self
        await self._front(scope, receive, send)

    def complete(self) -> None:
        """Declare what is missing; `routers` is called once, now."""
        if not self._complete:
            self._complete = True
            for router in self._routers():
                router.declare_on(self.router)


def _made(part: Any) -> Any:  # noqa: ANN401  anything that a declaration holds
    """`part` with what was left for later."""
    if isinstance(part, Later):
        return _made(part.make())
    if isinstance(part, dict):
        return {name: _made(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_made(value) for value in part]
    return part
