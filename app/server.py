"""The service as processes: uvicorn with as many workers as the settings say, drained on SIGTERM.

Signals: SIGTERM and SIGINT let requests in flight finish; said twice, they cut them. SIGHUP replaces workers one after
the other; a process that is its own only worker looks at the models folder instead, at once.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TextIO

import uvicorn
from fastapi import FastAPI
from prometheus_client import disable_created_metrics
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.api.application import create_application
from app.api.service import Service
from app.ports import DEALT_OUT, reserve_port
from app.runtime.machine import release_memory
from app.runtime.repository import EarlyVersions
from app.settings import Settings
from app.siblings import siblings
from app.telemetry import logging_to
from app.watchdog import watchdog
from app.workers import Place, join_workers, shared_folder, take_place

YOUNG_OBJECTS = 10_000
"""New objects between collections: those of many requests, not of a few (CPython's own threshold is 700)."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread that wants the interpreter lets another go on: a graph that is done waits for the event loop, and
a fifth of the interpreter's own 5 ms is worth several per cent of a lone worker's requests."""

logger = logging.getLogger(__name__)

REPLACEMENT_PATIENCE_S = 30
"""How long a worker that replaces another may take to be ready, and a living one to answer its supervisor."""

TRACING_DEFAULTS = {
    "OTEL_SERVICE_NAME": "latentserve",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",  # seconds: a collector that is down may not hold up the end of the process
}


def serve(settings: Settings, early: EarlyVersions | None) -> int:
    """Serve from this process; the exit status. `early` are versions that are being opened already."""
    _prepare_process()
    server = uvicorn.Server(_configuration(settings, partial(application_of, settings, early)))
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else STARTUP_FAILURE


def supervise(settings: Settings, application: str) -> int:
    """Serve from as many processes as the settings say, each of which calls `application`; the exit status."""
    _prepare_process()
    with _output() as output, logging_to(output, settings.log_format), shared_folder():
        config = _configuration(settings, application)
        try:
            port = reserve_port(settings.host, settings.port) if DEALT_OUT else config.bind_socket()
        except OSError as error:
            logger.error("cannot listen on %s:%d: %s", settings.host, settings.port, error.strerror)
            return STARTUP_FAILURE
        supervisor = _Supervisor(config, sockets=[port])
        supervisor.run()
    return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))


def _prepare_process() -> None:
    for name, value in TRACING_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # uvicorn drains on SIGTERM and then raises it again for whoever handled it before: a drained service ended well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _configuration(settings: Settings, application: str | Callable[[], FastAPI]) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http="app.protocol:Protocol",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
        timeout_worker_healthcheck=REPLACEMENT_PATIENCE_S,
    )


def _output() -> TextIO:
    """Standard output without a buffer: where it is blocked, nothing is left to be flushed when the process ends."""
    return io.TextIOWrapper(io.FileIO(os.dup(sys.stdout.fileno()), "w"), encoding="utf-8", write_through=True)


class _Supervisor(Multiprocess):
    """uvicorn's, but told twice to end it says so to its workers once more, and they cut what they are doing."""

    def join_all(self) -> None:
        """Wait for workers that were told to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._cut)
        super().join_all()

    def _cut(self, number: int, frame: FrameType | None) -> None:
        for process in self.processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)


def application_of(settings: Settings, early: EarlyVersions | None) -> FastAPI:
    """The application as a process of its own: it writes logs, heeds signals, and ends when it stands still."""
    disable_created_metrics()  # a second series for each, which nobody reads
    place = take_place() if settings.workers > 1 else None
    shared = join_workers(place) if place is not None else None
    application = create_application(settings, shared_metrics=shared, early=early)
    inner = application.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        supervisor = os.getppid() if settings.workers > 1 else None
        with _output() as output, logging_to(output, settings.log_format):
            async with watchdog(settings.watchdog_s, supervisor=supervisor), inner(application):
                service: Service = application.state.service
                gc.freeze()  # what was loaded stays: collections that walk it again cost the tail of every latency
                gc.set_threshold(YOUNG_OBJECTS)
                gc.enable()
                sys.setswitchinterval(SWITCH_INTERVAL_S)
                release_memory()
                with _sharing(place, settings.workers), _draining_on_sigterm(service), _refreshing_on_sighup(service):
                    yield

    application.router.lifespan_context = lifespan
    return application


@contextmanager
def _sharing(place: Place | None, workers: int) -> Iterator[None]:
    """Share connections with the other workers, where there are some and each accepts its own."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)  # uvicorn's own handler is in place by now
    if place is None or not DEALT_OUT or not isinstance(server, uvicorn.Server):
        yield
        return
    with siblings(server, place.folder, workers + 1, place.slot):  # one more while one replaces another
        yield


@contextmanager
def _draining_on_sigterm(service: Service) -> Iterator[None]:
    """Tell `service` of SIGTERM before the server's own handler, in place by now, acts on it."""
    server_handler = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        # The server lets nothing but a second SIGINT cut short what it waits for.
        meant = signal.SIGINT if service.draining else number
        service.draining = True
        if callable(server_handler):
            server_handler(meant, frame)

    signal.signal(signal.SIGTERM, drain)
    yield


@contextmanager
def _refreshing_on_sighup(service: Service) -> Iterator[None]:
    """Look for published models on SIGHUP, which otherwise would end the process in the middle of its requests."""
    loop = asyncio.get_running_loop()
    looking: set[asyncio.Task[None]] = set()  # the loop itself does not keep its tasks

    def look() -> None:
        task = loop.create_task(service.repository.refresh())
        looking.add(task)
        task.add_done_callback(looking.discard)

    loop.add_signal_handler(signal.SIGHUP, look)
    yield
    loop.remove_signal_handler(signal.SIGHUP)
