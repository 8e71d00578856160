"""Logs are one line a record with the request's id; metrics belong to their application."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time

import pytest

from app.telemetry import Metrics, logging_to, request_id


def test_log_line_is_json_with_the_request_id_and_the_fields() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        token = request_id.set("abc")
        logging.getLogger("app.test").info("answered", extra={"fields": {"status": 200}})
        request_id.reset(token)
    line = json.loads(stream.getvalue())
    assert (line["message"], line["request_id"], line["status"]) == ("answered", "abc", 200)


def test_log_line_stays_one_line_whatever_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest must not keep this line for its report: workers of pytest-xdist cannot send a lone surrogate.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    stream = io.StringIO()
    with logging_to(stream, "json"):
        logging.getLogger("app.test").info("forged\n{} \ud800 line")
    assert len(stream.getvalue().splitlines()) == 1


def test_log_line_for_people_names_its_fields() -> None:
    stream = io.StringIO()
    with logging_to(stream, "human"):
        logging.getLogger("app.test").warning("slow", extra={"fields": {"seconds": 2}})
    assert stream.getvalue().endswith("warning slow seconds=2\n")


def test_logging_is_restored_after_the_block() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    with logging_to(io.StringIO()):
        pass
    assert (root.handlers, root.level) == before


def test_metrics_of_two_applications_do_not_meet() -> None:
    one, other = Metrics(), Metrics()
    one.count_rejection("overloaded")
    one.graph_meter("tiny@1.latent_to_image").observe_run(rows=3, seconds=0.5)
    assert 'latentserve_rejected_total{reason="overloaded"} 1.0' in one.render().decode()
    assert 'latentserve_run_seconds_sum{graph="tiny@1.latent_to_image"} 0.5' in one.render().decode()
    assert "overloaded" not in other.render().decode()


def test_metrics_forget_models_that_are_gone() -> None:
    metrics = Metrics()
    metrics.set_models([("old", "1", "ready")])
    metrics.set_models([("new", "2", "ready")])
    assert "old" not in metrics.render().decode()
    assert 'latentserve_model_info{model="new",status="ready",version="2"} 1.0' in metrics.render().decode()


def test_loop_lag_of_a_blocked_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry._SAMPLED_EVERY_S", 0.001)
    metrics = Metrics()

    async def block() -> None:
        sampling = asyncio.create_task(metrics.sample())
        await asyncio.sleep(0)
        threading.Event().wait(0.06)  # on the loop's own thread
        await asyncio.sleep(0.01)
        sampling.cancel()

    asyncio.run(block())
    found = metrics.registry.get_sample_value
    late = found("latentserve_event_loop_lag_seconds_count") - found(
        "latentserve_event_loop_lag_seconds_bucket", {"le": "0.05"}
    )
    assert late >= 1


def test_log_that_cannot_be_written_is_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry._LAST_LINES_S", 0.05)
    free = threading.Event()

    class Blocked(io.StringIO):
        def write(self, text: str) -> int:
            free.wait()
            return len(text)

    began = time.monotonic()
    with logging_to(Blocked(), "json"):
        for _ in range(20_000):  # more than wait to be written
            logging.getLogger("app.test").info("line")
    assert time.monotonic() - began < 30
    free.set()
