"""A repository that lives: versions come and go under load, nobody notices, and their memory comes back."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from onnx import helper

from tests.app.tiny_models import (
    TinyModel,
    graph,
    tiny_gan,
    with_graph,
    without_graphs,
    write_tiny_models,
    write_version,
)
from tests.service.test_process import Process

CLIENTS = 8
RELOADS = 10
WEIGHTS_MIB = 40


class Load:
    """Clients that ask without a pause, until they are told to stop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self._client = httpx2.Client(timeout=30)
        self.answers: list[httpx2.Response] = []

    def _ask(self) -> None:
        body = {"seed": 3, "count": 2}
        while not self._stop.is_set():
            self.answers.append(self._client.post(f"{self._address}/v1/models/tiny_gan/sample", json=body))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Under load."""
        with ThreadPoolExecutor(CLIENTS) as pool, self._client:
            asking: list[Future[None]] = [pool.submit(self._ask) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._stop.set()
            for client in asking:
                client.result()


def pictures(answer: dict[str, Any]) -> list[str]:
    """The PNGs of an answer; each holds a receipt that names its version."""
    return [image["png"] for image in answer["images"]]


def resident_mib(process: Process) -> float:
    """Memory of a service of one process."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def large_model() -> TinyModel:
    """Forty MiB of weights."""
    generator = np.random.default_rng(0)
    rows = WEIGHTS_MIB * 2**18 // 2048
    constants = {
        "V": generator.standard_normal((4, rows)),
        "W": generator.standard_normal((rows, 2048)),
        "U": generator.standard_normal((2048, 192)),
        "shape": np.array([-1, 3, 8, 8]),
    }
    nodes = [
        helper.make_node("MatMul", ["latent", "V"], ["a"]),
        helper.make_node("MatMul", ["a", "W"], ["b"]),
        helper.make_node("MatMul", ["b", "U"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["image"]),
    ]
    proto = graph(nodes, {"latent": ["batch", 4]}, {"image": ["batch", 3, 8, 8]}, constants)
    plain = without_graphs(tiny_gan("large"), "image_to_realism")
    return replace(with_graph(plain, "latent_to_image", proto), preview=False)


def test_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_gan())
    with Process(tmp_path) as process:
        load = Load(process.address)
        with load.running():
            for version in range(2, RELOADS + 2):
                write_version(tmp_path, tiny_gan(seed=version), version)
                process.wait_for(f"model tiny_gan@{version} is ready")
                shutil.rmtree(tmp_path / "tiny_gan" / str(version - 1))
                process.wait_for(f"model tiny_gan@{version - 1} was removed")
        assert {answer.status_code for answer in load.answers} == {200}
        by_version: dict[int, set[tuple[str, ...]]] = {}
        for answer in (response.json() for response in load.answers):
            by_version.setdefault(answer["version"], set()).add(tuple(pictures(answer)))
        # Every version answered, each with its own pictures and no other's.
        assert by_version.keys() == set(range(1, RELOADS + 2))
        assert all(len(found) == 1 for found in by_version.values())
        assert len(set.union(*by_version.values())) == RELOADS + 1


def test_pinned_version_stays_itself_while_others_come(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_gan())
    with Process(tmp_path) as process:

        def draw(ref: str) -> httpx2.Response:
            return httpx2.post(f"{process.address}/v1/models/{ref}/sample", json={"seed": 3}, timeout=30)

        first = pictures(draw("tiny_gan@1").json())
        write_version(tmp_path, tiny_gan(seed=5), 2)
        process.wait_for("model tiny_gan@2 is ready")
        assert pictures(draw("tiny_gan@1").json()) == first
        assert pictures(draw("tiny_gan").json()) == pictures(draw("tiny_gan@2").json()) != first
        assert draw("tiny_gan@3").status_code == 404


def test_unload_lets_requests_finish_and_load_serves_again(tmp_path: Path) -> None:
    models, keys = tmp_path / "models", tmp_path / "admins"
    write_tiny_models(models)
    keys.write_text(f"root:{hashlib.sha256(b't0p').hexdigest()}\n")
    with Process(models, ADMIN_KEYS_FILE=str(keys)) as process:

        def control(action: str) -> int:
            address = f"{process.address}/v2/repository/models/tiny_gan.latent_to_image/{action}"
            return httpx2.post(address, headers={"Authorization": "Bearer t0p"}, json={}, timeout=30).status_code

        load = Load(process.address)
        with load.running():
            for _ in range(3):
                assert (control("unload"), control("load")) == (200, 200)
        statuses = [answer.status_code for answer in load.answers]
        refusals = {answer.json()["code"] for answer in load.answers if answer.status_code != 200}
        assert set(statuses) <= {200, 503}
        assert refusals <= {"model-unavailable"}
        assert statuses.count(200) > 0


def test_memory_comes_back_when_a_model_goes(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_gan())
    with Process(tmp_path, GRAPH_THREADS="1", GRAPH_LANES="1", MAX_BATCH_ROWS="64") as process:
        before = resident_mib(process)
        for _ in range(2):  # the second time shows that nothing is left of the first
            write_version(tmp_path, large_model())
            process.wait_for("model large@1 is ready")
            body = {"seed": 1, "count": 64}
            answer = httpx2.post(f"{process.address}/v1/models/large/sample", json=body, timeout=30)
            assert answer.status_code == 200
            loaded = resident_mib(process)
            shutil.rmtree(tmp_path / "large")
            process.wait_for("the memory of 1 models was given back")
            after = resident_mib(process)
            assert loaded - before > WEIGHTS_MIB
            assert after - before < 0.4 * (loaded - before), f"{before:.0f} → {loaded:.0f} → {after:.0f} MiB"
