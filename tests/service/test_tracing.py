"""Traces reach a collector that the standard variables name; one that is not there changes nothing."""

from __future__ import annotations

import itertools
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.app.tiny_models import write_tiny_models
from tests.service.test_process import Process

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Keeps the spans that are sent to it."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Any] = queue.Queue()
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.receive(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def receive(self, body: bytes) -> None:
        """One batch of spans."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            known = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(known["service.name"])
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put(span)

    def next(self, count: int) -> dict[str, Any]:
        """The next spans, by name."""
        spans = [self.spans.get(timeout=30) for _ in range(count)]
        return {span.name: span for span in spans}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model repository."""
    root = tmp_path / "models"
    write_tiny_models(root)
    return root


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, and the variables that name it."""
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield found
    found.server.shutdown()
    found.server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    """Its attributes as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_span_of_a_request_continues_its_callers_trace_and_holds_its_stages(models: Path, collector: Collector) -> None:
    with Process(models) as process:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "mine"}
        assert httpx2.get(f"{process.address}/readyz").status_code == 200  # probes are not traced
        asked = httpx2.post(f"{process.address}/v1/models/tiny_gan/sample", json={"count": 3}, headers=headers)
        assert asked.status_code == 200
        spans = collector.next(4)
        assert process.stop() == 0
    request = spans["POST /v1/models/{model}/sample"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    said = attributes(request)
    assert said["http.route"] == "/v1/models/{model}/sample"
    assert said["http.response.status_code"] == 200
    assert said["http.response.header.x-request-id"].values[0].string_value == "mine"
    stages = [spans[name] for name in ("queue", "run", "encode")]
    assert all(stage.parent_span_id == request.span_id for stage in stages)
    moments = [request.start_time_unix_nano]
    for stage in stages:
        moments += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    slack = 5_000_000  # ns: stages are timed by another clock than the request
    assert all(early <= late + slack for early, late in itertools.pairwise([*moments, request.end_time_unix_nano]))
    assert attributes(spans["run"]) == {"latentserve.graph": "tiny_gan@1 latent_to_image", "latentserve.rows": 3}
    assert collector.services == {"latentserve"}


def test_bad_traceparent_starts_a_trace_of_its_own(models: Path, collector: Collector) -> None:
    with Process(models) as process:
        asked = httpx2.get(f"{process.address}/v1/models", headers={"traceparent": f"00-{TRACE}-zz-01"})
        assert asked.status_code == 200
        request = collector.next(1)["GET /v1/models"]
    assert request.trace_id.hex() != TRACE
    assert request.parent_span_id == b""


@pytest.mark.parametrize("hangs", [False, True], ids=["down", "hangs"])
def test_collector_that_takes_no_spans_holds_up_neither_answers_nor_the_end(
    models: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not hangs:
            silent.close()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with Process(models) as process:
            drawn = [process.draw(1) for _ in range(20)]
            assert all(images == drawn[0] for images in drawn)
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.wait(timeout=15) == 0
