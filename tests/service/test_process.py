"""The service as a process: it starts, promises bytes, watches its folder, drains and ends well."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.app.tiny_models import tiny_gan, tiny_vae, write_tiny_models, write_version

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "app")
PATIENCE_S = 60.0


class Process:
    """A running service; what it logs is the only clock of these tests."""

    def __init__(self, models: Path, **variables: str) -> None:
        named = {"MODELS_DIR": str(models), "PORT": "0", "MODELS_POLL_S": "0.05", "LOG_FORMAT": "json"} | variables
        environment = {**os.environ, **{f"LATENTSERVE_{name}": value for name, value in named.items()}}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        # A session of its own, so that workers can be killed with their parent.
        self.popen = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, start_new_session=True, **pipes)
        self.watchdog = threading.Timer(PATIENCE_S, self.kill)
        self.watchdog.start()
        self.address = f"http://127.0.0.1:{named['PORT']}"

    def __enter__(self) -> Process:
        self.address = self.wait_for("Uvicorn running on")["message"].split()[3]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """It is gone, whatever happened."""
        self.watchdog.cancel()
        self.kill()
        with self.popen:
            pass

    def kill(self) -> None:
        """End it and its workers at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def wait_for(self, words: str) -> dict[str, Any]:
        """The next log line whose message holds `words`."""
        assert self.popen.stdout is not None
        seen = []
        for line in self.popen.stdout:
            seen.append(line)
            if line.startswith("{") and words in (found := json.loads(line))["message"]:
                return dict(found)
        raise AssertionError(f"the process ended without saying {words!r}:\n{''.join(seen)}")

    def ended(self) -> int:
        """The exit status, once it has nothing more to say."""
        assert self.popen.stdout is not None
        self.popen.stdout.read()
        return self.popen.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.ended()

    def draw(self, count: int) -> list[dict[str, Any]]:
        """The first images of a seed."""
        wish = {"seed": 7, "count": count}
        response = httpx2.post(f"{self.address}/v1/models/tiny_gan/sample", json=wish, timeout=30)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["images"]
        return found


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model repository."""
    root = tmp_path / "models"
    write_tiny_models(root)
    return root


def test_image_of_a_seed_is_the_same_alone_under_load_and_after_a_restart(models: Path) -> None:
    with Process(models) as process:
        (alone,) = process.draw(1)
        with ThreadPoolExecutor(8) as pool:
            crowd = list(pool.map(process.draw, [1, 64, 3, 17] * 4))
        assert {images[0]["png"] for images in crowd} == {alone["png"]}
        assert process.draw(64) == crowd[1]
        assert process.stop() == 0
    with Process(models) as process:
        assert process.draw(64) == crowd[1]


def test_sigterm_lets_requests_in_flight_finish(models: Path) -> None:
    body = b'{"seed": 7}'
    with Process(models) as process:
        half = _half_sent(process, "POST /v1/models/tiny_gan/sample", body)
        ready = _half_sent(process, "GET /readyz", b"1")
        expected = process.draw(1)
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("Shutting down")
        assert _rest(ready, b"1")[0] == 503
        status, answer = _rest(half, body)
        assert status == 200
        assert json.loads(answer)["images"] == expected
        assert process.ended() == 0


def _half_sent(process: Process, line: str, body: bytes) -> socket.socket:
    """A connection that has sent all of a request but the body."""
    host, port = process.address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b"100 Continue" in connection.recv(100)  # the application is reading now
    return connection


def _rest(connection: socket.socket, body: bytes) -> tuple[int, bytes]:
    with connection:
        connection.sendall(body)
        parts = []
        while part := connection.recv(2**16):
            parts.append(part)
    head, _, answer = b"".join(parts).partition(b"\r\n\r\n")
    return int(head.split()[1]), answer


def test_version_published_while_running_is_served(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_vae())
    with Process(tmp_path) as process:
        missing = httpx2.post(f"{process.address}/v1/models/tiny_gan/sample", json={})
        assert missing.status_code == 404
        write_version(tmp_path, tiny_gan())
        process.wait_for("model tiny_gan@1 is ready")
        first = process.draw(2)
        write_version(tmp_path, tiny_gan(seed=5), version=2)
        process.wait_for("model tiny_gan@2 is ready")
        assert process.draw(2) != first
        pinned = httpx2.post(f"{process.address}/v1/models/tiny_gan@1/sample", json={"seed": 7, "count": 2})
        assert pinned.json()["images"] == first


def test_corrupt_version_leaves_the_old_one_serving(models: Path) -> None:
    with Process(models) as process:
        before = process.draw(1)
        broken = write_version(models, tiny_gan("broken"))
        (broken / "latent_to_image.onnx").write_bytes(b"no graph")
        process.wait_for("model broken@1 is not served")
        assert process.draw(1) == before
        ready = httpx2.get(f"{process.address}/readyz")
        assert (ready.status_code, ready.json()["failed"][0]["name"]) == (200, "broken")


def test_two_workers_give_the_same_bytes_and_end_well(models: Path) -> None:
    with Process(models, WORKERS="2") as process:
        for _ in range(2):
            process.wait_for("Application startup complete")
        with ThreadPoolExecutor(4) as pool:
            drawn = list(pool.map(process.draw, [2] * 12))
        assert all(images == drawn[0] for images in drawn)
        assert process.stop() == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LATENTSERVE_PROT", "1", "LATENTSERVE_PROT is not a setting; the nearest is LATENTSERVE_PORT"),
        ("LATENTSERVE_PORT", "many", "LATENTSERVE_PORT: Input should be a valid integer"),
    ],
)
def test_wrong_variable_stops_the_start_with_a_sentence(name: str, value: str, said: str) -> None:
    environment = {**os.environ, name: value}
    ended = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(said)
    assert "Traceback" not in ended.stderr
