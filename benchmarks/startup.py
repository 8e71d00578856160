"""How soon the service is ready, what it holds, what it takes on the disk: `python -m benchmarks.startup`.

The service runs from an environment of its own that holds the base dependencies alone. It is started once before, so
that what it keeps between starts is there, and is then measured in alternation with a process of the same environment
that only imports fastapi, uvicorn and onnxruntime and opens all graphs of the same models. The service reads and
checks all of them too, but opens gradients when they are first asked for.

And how soon a worker that was killed is replaced, where there are two: from the signal until as many processes listen
as before; without load, and while 64 clients keep the other one busy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness.contenders import Contender, decode_wires, latentserve
from benchmarks.harness.environments import disk_mb, serving_environment
from benchmarks.harness.load import press, require_wrk
from benchmarks.harness.models import PUBLISHED, Model, copied, published, repository
from benchmarks.harness.options import parser
from benchmarks.harness.processes import is_spawned, listeners, resident_mb
from benchmarks.harness.report import Bar, bars, circumstances, publish, table

MODELS = ("fashion_gan", "fashion_vae", "mnist_flow_vae", "mnist_gan", "mnist_vae")
"""Convolutional ones of 28 pixels, by name: a model that is published later must not change what is measured."""
CLIENTS = 64
LOAD_S = 8
"""Long enough that the load outlasts a replacement."""
PROBE = """
import sys
import fastapi, uvicorn
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
sessions = [onnxruntime.InferenceSession(path, options) for path in sys.argv[1:]]
print("open", flush=True)
"""


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__, rounds=5).parse_args()
    require_wrk()
    rounds = 1 if chosen.quick else chosen.rounds
    programs = serving_environment()
    root = repository("startup")
    models = _models(root)
    service = latentserve(root, (), python=str(programs / "python"))
    probe = [str(programs / "python"), "-c", PROBE, *(str(graph) for model in models for graph in _graphs(model))]
    _start(service, models)
    pair = latentserve(root, (), workers=2, python=str(programs / "python"))
    ready, resident, bare = [], [], []
    replaced: dict[int, list[float]] = {0: [], CLIENTS: []}
    for _ in range(rounds):
        for clients, taken in replaced.items():
            taken.append(_until_replaced(pair, models[0], clients))
        bare.append(_until_open(probe))
        seconds, megabytes = _start(service, models)
        ready.append(seconds)
        resident.append(megabytes)
    disk = disk_mb(programs.parent)
    everything = published()
    _, all_mb = _start(latentserve(PUBLISHED, (), python=str(programs / "python")), everything)
    found = Findings(median(bare), median(ready), median(resident), all_mb, disk, *map(median, replaced.values()))
    publish("startup", _report(models, len(everything), found), chosen.markdown)
    return 0


@dataclass(frozen=True)
class Findings:
    """Seconds and megabytes."""

    bare_s: float
    ready_s: float
    resident_mb: float
    all_resident_mb: float
    """With every committed model."""
    disk_mb: float
    replaced_s: float
    replaced_under_load_s: float


def _models(root: Path) -> list[Model]:
    return [copied(model, root) for model in published() if model.name in MODELS]


def _graphs(model: Model) -> list[Path]:
    return [model.folder / graph.file for graph in model.manifest.graphs]


def _start(service: Contender, models: Sequence[Model]) -> tuple[float, float]:
    """Seconds until ready, and resident megabytes after every model made 16 pictures."""
    with service.serve() as server:
        for model in models:
            with urllib.request.urlopen(  # noqa: S310  our own loopback address
                f"{server.url}/v1/models/{model.name}/sample.png?seed=1&count=16"
            ) as answer:
                answer.read()
        return server.ready_s, resident_mb(server.pids)


def _until_replaced(service: Contender, model: Model, clients: int) -> float:
    """Seconds from the end of one of two workers until two listen again, while `clients` ask for images."""
    call = decode_wires(model)[0].call(1)
    with service.serve() as server, ThreadPoolExecutor(1) as pool:
        port = int(server.url.rpartition(":")[2])
        _wait_for_listeners(port, 2)
        if clients:
            pool.submit(press, server.url, call, clients=clients, seconds=LOAD_S)
            time.sleep(1)
        os.kill(next(filter(is_spawned, reversed(server.pids))), signal.SIGKILL)
        killed = time.perf_counter()
        _wait_for_listeners(port, 1)
        _wait_for_listeners(port, 2)
        return time.perf_counter() - killed


def _wait_for_listeners(port: int, count: int) -> None:
    while listeners(port) != count:
        time.sleep(0.002)


def _until_open(probe: Sequence[str]) -> float:
    """Seconds until the bare process has opened all graphs."""
    started = time.perf_counter()
    with subprocess.Popen(probe, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        seconds = time.perf_counter() - started
    if line != b"open\n":
        raise RuntimeError("the bare process did not open the graphs")
    return seconds


def _report(models: Sequence[Model], committed: int, found: Findings) -> str:
    graphs = sum(len(_graphs(model)) for model in models)
    rows = [
        ["bare process, imports and graphs: s", f"{found.bare_s:.2f}"],
        ["service, ready: s", f"{found.ready_s:.2f}"],
        ["service, resident after 16 pictures of each model: MB", f"{found.resident_mb:.0f}"],
        [f"the same with all {committed} committed models: MB", f"{found.all_resident_mb:.0f}"],
        ["serving environment on the disk: MB", f"{found.disk_mb:.0f}"],
        ["killed worker replaced: s", f"{found.replaced_s:.2f}"],
        [f"killed worker replaced, {CLIENTS} clients: s", f"{found.replaced_under_load_s:.2f}"],
    ]
    kept = [
        Bar("ready / bare process", found.ready_s / found.bare_s, 1.5, at_least=False),
        Bar("resident memory", found.resident_mb, 180, at_least=False, unit="MB"),
        Bar("serving environment", found.disk_mb, 250, at_least=False, unit="MB"),
        Bar("killed worker replaced", found.replaced_s, 2, at_least=False, unit="s"),
        Bar(f"killed worker replaced, {CLIENTS} clients", found.replaced_under_load_s, 2, at_least=False, unit="s"),
    ]
    names = ", ".join(model.name for model in models)
    return "\n\n".join(
        [
            circumstances("onnxruntime", "fastapi", "uvicorn"),
            f"Models: {names} ({graphs} graphs).",
            table(["", "median"], rows),
            bars(kept),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
