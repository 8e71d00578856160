"""`python -m app`: read the settings, run uvicorn, drain on SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app.api.application import create_application
from app.api.service import Service
from app.settings import PREFIX, Settings
from app.telemetry import logging_to


def main() -> int:
    """Run the service; the exit status."""
    try:
        settings = Settings()
    except ValidationError as error:
        print("\n".join(_explain(error)), file=sys.stderr)  # noqa: T201  there is no log yet
        return 2
    # uvicorn drains on SIGTERM and then raises it again for whoever handled it before: a drained service ended well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        "app.__main__:served_application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http="httptools",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    return 0


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        name = f"{PREFIX}{str(problem['loc'][0]).upper()}: " if problem["loc"] else ""
        yield name + problem["msg"].removeprefix("Value error, ")


def served_application() -> FastAPI:
    """The application as a process of its own: it writes logs, and turns `/readyz` red when asked to stop."""
    settings = Settings()
    application = create_application(settings)
    inner = application.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        with logging_to(sys.stdout, settings.log_format):
            async with inner(application):
                with _draining_on_sigterm(application.state.service):
                    yield

    application.router.lifespan_context = lifespan
    return application


@contextmanager
def _draining_on_sigterm(service: Service) -> Iterator[None]:
    """Tell `service` of SIGTERM before the server's own handler, in place by now, acts on it."""
    server_handler = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        service.draining = True
        if callable(server_handler):
            server_handler(number, frame)

    signal.signal(signal.SIGTERM, drain)
    yield


if __name__ == "__main__":
    sys.exit(main())
