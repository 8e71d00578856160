"""OpenTelemetry spans: FastAPI opens one a request, here it gets its name and the stages within it.

Nobody pays for traces but who asks for them, through the standard `OTEL_…` variables or a provider of the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

from opentelemetry import trace

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""One of them makes FastAPI send spans there, where the SDK and its exporter are installed."""

TRACED = "fastapi.telemetry"
"""The key of a request's scope by which FastAPI says that it has opened a span."""


_asked = threading.Event()


def wanted() -> bool:
    """Whether anybody asked for traces; until this has been true once, nothing is traced."""
    sent = any(os.environ.get(variable) for variable in ENDPOINT_VARIABLES)
    if sent or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        _asked.set()
        return True
    return False


def describe_request(method: str, route: str | None, identity: str) -> None:
    """Name the request's span by its route template, and give it the id that the log and the client know."""
    span = trace.get_current_span()
    span.set_attribute("http.response.header.x-request-id", (identity,))
    if route is not None:
        span.set_attribute("http.route", route)
        span.update_name(f"{method} {route}")


def is_traced() -> bool:
    """Whether what happens now is part of a recorded trace."""
    return _asked.is_set() and trace.get_current_span().is_recording()


def record_stage(name: str, began_s: float, ended_s: float, attributes: Mapping[str, str | int]) -> None:
    """A stage of the request that is over, by `time.monotonic()` moments; nothing where none is traced."""
    if not is_traced():
        return
    since_1970_s = time.time() - time.monotonic()
    tracer = trace.get_tracer("latentserve")
    span = tracer.start_span(name, attributes=attributes, start_time=int((since_1970_s + began_s) * 1e9))
    span.end(int((since_1970_s + ended_s) * 1e9))
