"""What the service says about itself: structured logs with request ids, and Prometheus metrics.

Nothing here is a singleton: each application owns its `Metrics`, and only `python -m app` touches the logging of the
process. The request id is a context variable, so that a log line written anywhere below a request carries it.
Worker processes write their numbers into files of one folder (`app/workers.py`), and any of them answers for all.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from logging.handlers import QueueHandler
from typing import Literal, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LogFormat = Literal["human", "json"]

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_SAMPLED_EVERY_S = 0.1
"""Often enough to meet a stall that hurts, seldom enough to cost nothing."""

_LOG_QUEUE_LINES = 10_000
"""Enough for a burst; beyond it lines are dropped, because a blocked terminal must not block the service."""

_LAST_LINES_S = 2.0
"""What the writing thread gets at the end; a process whose output is blocked ends all the same."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request being answered; "-" outside one."""


class Metrics:
    """The metrics of one application, in a registry of their own; base units (seconds, rows).

    `shared` collects the numbers of every worker, where there are several: then it is what is rendered.
    """

    def __init__(self, shared: Collector | None = None) -> None:
        self.registry = CollectorRegistry()
        self._models = _ModelInfo()
        self._exposed = self.registry
        if shared is None:
            ProcessCollector(registry=self.registry)
        else:
            self._exposed = CollectorRegistry()
            self._exposed.register(shared)
        self._exposed.register(self._models)
        self._requests = self._counter("http_requests", "Requests answered.", "route", "method", "status")
        self._duration = self._histogram(
            "http_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            _LATENCY_BUCKETS_S,
            "route",
            "method",
        )
        self._meters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # labels() costs more than inc()
        self._graphs: dict[str, GraphMeter] = {}
        self._rejected = self._counter("rejected", "Requests answered with a problem, by its code.", "reason")
        self._queue_rows = Gauge(
            "latentserve_queue_rows",
            "Rows waiting for a graph.",
            ["graph"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batch_rows = self._histogram("batch_rows", "Rows of one graph run.", _ROW_BUCKETS, "graph")
        self._run_seconds = self._histogram("run_seconds", "Duration of one graph run.", _LATENCY_BUCKETS_S, "graph")
        self._loop_lag = self._histogram(
            "event_loop_lag_seconds", "How late the event loop woke a sleeper, sampled.", _LAG_BUCKETS_S
        )

    def _counter(self, name: str, means: str, *labels: str) -> Counter:
        return Counter(f"latentserve_{name}", means, labels, registry=self.registry)

    def _histogram(self, name: str, means: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"latentserve_{name}", means, labels, buckets=buckets, registry=self.registry)

    def count_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """One request answered; `route` is the template (`/v1/models/{model}/sample`), never the address itself."""
        meters = self._meters.get((route, method, status))
        if meters is None:
            counter = self._requests.labels(route, method, str(status))
            meters = self._meters[route, method, status] = (counter, self._duration.labels(route, method))
        meters[0].inc()
        meters[1].observe(seconds)

    def count_rejection(self, reason: str) -> None:
        """One request refused or failed, by its problem code."""
        self._rejected.labels(reason).inc()

    def graph_meter(self, graph: str) -> GraphMeter:
        """The metrics of one graph, looked up once."""
        return self._graphs.setdefault(
            graph,
            GraphMeter(self._queue_rows.labels(graph), self._batch_rows.labels(graph), self._run_seconds.labels(graph)),
        )

    async def sample(self) -> None:
        """Note, until cancelled, what changes all the time: how late the event loop is, how many rows wait."""
        while True:
            due = time.monotonic() + _SAMPLED_EVERY_S
            await asyncio.sleep(_SAMPLED_EVERY_S)
            self._loop_lag.observe(max(0.0, time.monotonic() - due))
            self._note_queues()

    def _note_queues(self) -> None:
        for meter in list(self._graphs.values()):  # a scrape is rendered on a thread of its own
            meter.note_queue()

    def set_models(self, models: Iterable[tuple[str, str, str]]) -> None:
        """Replace the published models by these (name, version, status)."""
        self._models.found = tuple(models)

    def render(self) -> bytes:
        """Everything, in the text format that Prometheus scrapes. Reads files where numbers are shared."""
        self._note_queues()
        return generate_latest(self._exposed)


class _ModelInfo(Collector):
    """What is published, which the worker that is asked knows as well as any other: nothing to add up."""

    def __init__(self) -> None:
        self.found: tuple[tuple[str, str, str], ...] = ()

    def collect(self) -> Iterable[Metric]:
        labels = ["model", "version", "status"]
        family = GaugeMetricFamily("latentserve_model_info", "1 for each published model.", labels=labels)
        for model in self.found:
            family.add_metric(model, 1)
        yield family


class GraphMeter:
    """What one graph's queue and runs report to."""

    def __init__(self, queue_rows: Gauge, batch_rows: Histogram, run_seconds: Histogram) -> None:
        self._queue_rows = queue_rows
        self._batch_rows = batch_rows
        self._run_seconds = run_seconds
        self._waiting = 0

    def set_queue_rows(self, rows: int) -> None:
        """How many rows wait for the graph now: every request says so twice, so it is noted only now and then."""
        self._waiting = rows

    def note_queue(self) -> None:
        """Expose the rows that wait now."""
        self._queue_rows.set(self._waiting)

    def observe_run(self, *, rows: int, seconds: float) -> None:
        """One run of `rows` rows took `seconds`."""
        self._batch_rows.observe(rows)
        self._run_seconds.observe(seconds)


class _DroppingQueueHandler(QueueHandler):
    """Hands lines to the writing thread; drops them while that thread is blocked, rather than block a request."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.request_id = request_id.get()
        return record


class _Writer(logging.StreamHandler[TextIO]):
    """Writes from one thread alone; a lock that it held while blocked would keep the interpreter from ending."""

    def createLock(self) -> None:  # noqa: N802  logging's name
        self.lock = None

    def write_all(self, lines: queue.Queue[logging.LogRecord | None]) -> None:
        """Write what comes, until None does."""
        while (record := lines.get()) is not None:
            self.handle(record)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class _HumanFormatter(logging.Formatter):
    """One readable line: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


@contextmanager
def logging_to(stream: TextIO, log_format: LogFormat | None = None) -> Iterator[None]:
    """Send every log line of the process to `stream`, from a thread of its own, until the block ends.

    `log_format` None means `human` where the stream is a terminal and `json` elsewhere.
    """
    writer = _Writer(stream)
    human = log_format == "human" or (log_format is None and stream.isatty())
    writer.setFormatter(_HumanFormatter() if human else _JsonFormatter())
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(_LOG_QUEUE_LINES)
    handler = _DroppingQueueHandler(lines)
    thread = threading.Thread(target=writer.write_all, args=(lines,), name="log", daemon=True)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    thread.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        with suppress(queue.Full):
            lines.put(None, timeout=_LAST_LINES_S)
        thread.join(_LAST_LINES_S)
