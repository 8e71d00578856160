"""Logs are one line a record with the request's id; metrics belong to their application."""

from __future__ import annotations

import io
import json
import logging

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
