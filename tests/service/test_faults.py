"""What goes wrong around a process: output that nobody reads, an event loop that stands still, impatient operators."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.app.tiny_models import write_tiny_models
from tests.service import test_process
from tests.service.test_process import Process, _half_sent

STANDING_STILL = """
import sys, time
from app.__main__ import main
from app.api import health

@health.router.get("/stand-still")
async def stand_still() -> None:
    time.sleep(600)

sys.exit(main())
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model repository."""
    root = tmp_path / "models"
    write_tiny_models(root)
    return root


@pytest.fixture
def process_that_can_stand_still(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A service with an address that blocks its event loop, and a watchdog of one second."""
    monkeypatch.setattr(test_process, "COMMAND", (sys.executable, "-c", STANDING_STILL))
    with Process(models, WATCHDOG_S="1") as process:
        yield process


def test_process_whose_event_loop_stands_still_says_where_and_ends(process_that_can_stand_still: Process) -> None:
    process = process_that_can_stand_still
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{process.address}/stand-still", timeout=30)
    line = process.wait_for("has stood still for 1 s")
    assert "in stand_still" in line["stack"]
    assert process.ended() == 70


def test_output_that_nobody_reads_stops_neither_requests_nor_the_end(models: Path) -> None:
    with Process(models, ACCESS_LOG="all") as process, httpx2.Client(base_url=process.address) as client:
        written = 0
        while written < 2**18:  # a pipe holds a quarter of that
            assert client.get("/problems/" + "x" * 200, timeout=10).status_code == 404
            written += 300
        assert process.draw(1)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(timeout=30) == 0


def test_second_sigterm_cuts_what_the_first_would_wait_for(models: Path) -> None:
    with Process(models) as process:
        _end_impatiently(process)


def test_second_sigterm_to_a_supervisor_cuts_its_workers(models: Path) -> None:
    with Process(models, WORKERS="2") as process:
        for _ in range(2):
            process.wait_for("Application startup complete")
        _end_impatiently(process)


def _end_impatiently(process: Process) -> None:
    """End it while it reads a body that never comes."""
    with _half_sent(process, "POST /v1/models/tiny_gan/sample", b"{}") as connection:
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("Waiting for connections to close")
        process.popen.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionResetError):
            assert b" 408 " not in connection.recv(2**16)  # the patience with stalled bodies was not waited for
    assert process.popen.wait(timeout=30) == 0


def test_sighup_makes_a_lone_process_look_for_models(models: Path) -> None:
    with Process(models, MODELS_POLL_S="3600") as process:
        before = process.draw(1)
        (models / "tiny_vae").rename(models / ".hidden")
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for("model tiny_vae@1 was removed")
        assert process.draw(1) == before


def test_file_of_keys_that_cannot_be_read_stops_the_start_with_a_sentence(models: Path, tmp_path: Path) -> None:
    process = Process(models, WORKERS="2", API_KEYS_FILE=str(tmp_path / "missing"))
    assert process.popen.stdout is not None
    said = process.popen.stdout.read()
    process.close()
    assert said.startswith("a file of keys cannot be read: ")
    assert process.popen.returncode == 2
