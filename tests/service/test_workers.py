"""Several workers are one service: their numbers add up, and what happens to one of them is not the service's end."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.app.tiny_models import tiny_gan, write_tiny_models, write_version
from tests.service.test_process import Process

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Workers(Process):
    """A service of two workers, both started."""

    def __enter__(self) -> Workers:
        super().__enter__()
        for _ in range(2):
            self.wait_for("Application startup complete")
        return self

    def metrics(self) -> Numbers:
        """Every sample of a scrape."""
        response = httpx2.get(f"{self.address}/metrics", timeout=30)
        assert response.status_code == 200
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }

    def pids(self) -> set[int]:
        """The living workers, as they say themselves."""
        return {int(dict(labels)["pid"]) for name, labels in self.metrics() if name == "process_open_fds"}

    def connect(self, clients: int) -> list[socket.socket]:
        """So many connections at once, each with a request that is sent before anybody answers."""
        host, port = self.address.removeprefix("http://").split(":")
        made = [socket.create_connection((host, int(port)), timeout=30) for _ in range(clients)]
        for connection in made:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        for connection in made:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 ")
        return made

    def sockets(self, state: str) -> set[str]:
        """What the system calls the sockets of the service's port that are in a state (proc(5))."""
        port = f":{int(self.address.rpartition(':')[2]):04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port) and line[3] == state}

    def connections_of(self, process: int) -> int:
        """Established connections that a process has a descriptor of."""
        established, found = self.sockets("01"), 0
        for path in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                found += str(path.readlink()) in established
        return found


def counted(numbers: Numbers, route: str) -> float:
    """Requests of a route, whatever their status."""
    return sum(
        value
        for (name, labels), value in numbers.items()
        if name == "latentserve_http_requests_total" and ("route", route) in labels
    )


def fallen(before: Numbers, after: Numbers) -> list[str]:
    """Counters and histograms that lost something; `process_…` go with their process."""
    grows = re.compile(r"latentserve_\w+_(total|bucket|count|sum)")
    return [name for (name, labels), value in before.items() if grows.fullmatch(name) and after[name, labels] < value]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model repository."""
    root = tmp_path / "models"
    write_tiny_models(root)
    return root


@pytest.fixture
def workers(models: Path) -> Iterator[Workers]:
    """Two workers with models, and one that cannot be loaded."""
    broken = write_version(models, tiny_gan("broken"))
    (broken / "latent_to_image.onnx").write_bytes(b"no graph")
    process = Workers(models, WORKERS="2")
    with contextlib.closing(process), process:
        yield process


def wait_for_end(process: int) -> None:
    """Until nothing of a killed process is left but its exit status."""
    with contextlib.suppress(OSError):
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X"):
            time.sleep(0.001)


def test_numbers_of_workers_add_up_and_survive_a_killed_one(workers: Workers) -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(workers.draw, [1] * 40))
    before = workers.metrics()
    assert counted(before, "/v1/models/{model}/sample") == 40
    assert len(workers.pids()) == 2

    os.kill(victim := min(workers.pids()), signal.SIGKILL)
    wait_for_end(victim)  # what reaches it before is reset
    assert workers.draw(1) == drawn[0]  # the other one serves on, the corrupt model beside it or not
    scrapes = [before]
    while victim in workers.pids() or len(workers.pids()) < 2:
        scrapes.append(workers.metrics())
    workers.wait_for(f"Child process [{victim}] died")
    workers.wait_for("Application startup complete")
    scrapes.append(workers.metrics())
    assert not any(fallen(earlier, later) for earlier, later in itertools.pairwise(scrapes))
    assert workers.draw(1) == drawn[0]
    assert counted(workers.metrics(), "/v1/models/{model}/sample") == 42
    assert workers.stop() == 0


def test_connections_are_shared_evenly_and_a_killed_worker_costs_none_that_comes_later(workers: Workers) -> None:
    _check_that_all_have_as_many(workers)
    os.kill(victim := min(workers.pids()), signal.SIGKILL)
    while len(workers.sockets("0A")) > 1:  # what reaches it as long as it listens is reset
        pass
    for connection in workers.connect(8):  # nobody is there to take half of them
        connection.close()
    workers.wait_for(f"Child process [{victim}] died")
    workers.wait_for("Application startup complete")
    _check_that_all_have_as_many(workers)
    assert workers.stop() == 0


def _check_that_all_have_as_many(workers: Workers) -> None:
    pids = workers.pids()
    while workers.sockets("01") | workers.sockets("08"):  # open, or closed by the client only
        pass
    connections = workers.connect(64)
    while sum(found := [workers.connections_of(pid) for pid in pids]) > 64:
        pass  # a connection is let go of a moment after it was handed over
    assert found == [32, 32]
    for connection in connections:
        connection.close()


def test_sighup_replaces_the_workers_and_loses_next_to_nothing(workers: Workers) -> None:
    before, enough, seen = workers.pids(), threading.Event(), Counter[str]()

    def ask(seed: int) -> None:
        with httpx2.Client(base_url=workers.address, timeout=30) as client:
            while not enough.is_set():
                try:
                    answer = client.post("/v1/models/tiny_gan/sample?format=raw", json={"seed": seed})
                    seen[str(answer.status_code)] += 1
                except httpx2.TransportError:
                    seen["reset"] += 1

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, seed) for seed in range(4)]
        try:
            workers.popen.send_signal(signal.SIGHUP)
            for _ in range(2):
                workers.wait_for("Application startup complete")
                workers.wait_for("Waiting for application shutdown")
        finally:
            enough.set()
        for each in asking:
            each.result()
    assert not before & workers.pids()
    assert seen.keys() <= {"200", "reset"}
    assert seen["200"] > 500
    assert seen["reset"] <= max(2, 0.002 * seen.total())


def test_workers_end_with_their_supervisor(workers: Workers) -> None:
    workers.popen.kill()
    for _ in range(2):
        workers.wait_for("the supervisor is gone")
    workers.ended()  # the pipe is closed: nobody is left who could write to it
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{workers.address}/livez")
