"""How soon the service is ready, what it holds, what it takes on the disk: `python -m benchmarks.startup`.

The service runs from an environment of its own that holds the base dependencies alone. It is started once before, so
that what it keeps between starts is there, and is then measured in alternation with a process of the same environment
that only imports fastapi, uvicorn and onnxruntime and opens all graphs of the same models. The service reads and
checks all of them too, but opens gradients when they are first asked for.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.harness.contenders import Contender, latentserve
from benchmarks.harness.environments import disk_mb, serving_environment
from benchmarks.harness.models import GREY_28, Model, copied, published, repository, written
from benchmarks.harness.options import parser
from benchmarks.harness.processes import resident_mb
from benchmarks.harness.report import Bar, bars, circumstances, publish, table

MODELS = 5
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
    rounds = 1 if chosen.quick else chosen.rounds
    programs = serving_environment()
    root = repository("startup")
    models = _models(root)
    service = latentserve(root, (), python=str(programs / "python"))
    probe = [str(programs / "python"), "-c", PROBE, *(str(graph) for model in models for graph in _graphs(model))]
    _start(service, models)
    ready, resident, bare = [], [], []
    for _ in range(rounds):
        bare.append(_until_open(probe))
        seconds, megabytes = _start(service, models)
        ready.append(seconds)
        resident.append(megabytes)
    disk = disk_mb(programs.parent)
    publish("startup", _report(models, median(bare), median(ready), median(resident), disk), chosen.markdown)
    return 0


def _models(root: Path) -> list[Model]:
    """Five: the published ones, and as many written here as are missing."""
    models = [copied(model, root) for model in published()[:MODELS]]
    for number in range(len(models), MODELS):
        models.append(written(GREY_28.named(f"decoder_{number}"), root))
    return models


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


def _until_open(probe: Sequence[str]) -> float:
    """Seconds until the bare process has opened all graphs."""
    started = time.perf_counter()
    with subprocess.Popen(probe, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else b""
        seconds = time.perf_counter() - started
    if line != b"open\n":
        raise RuntimeError("the bare process did not open the graphs")
    return seconds


def _report(models: Sequence[Model], bare: float, ready: float, resident: float, disk: float) -> str:
    graphs = sum(len(_graphs(model)) for model in models)
    rows = [
        ["bare process, imports and graphs: s", f"{bare:.2f}"],
        ["service, ready: s", f"{ready:.2f}"],
        ["service, resident after 16 pictures of each model: MB", f"{resident:.0f}"],
        ["serving environment on the disk: MB", f"{disk:.0f}"],
    ]
    kept = [
        Bar("ready / bare process", ready / bare, 1.5, at_least=False),
        Bar("resident memory", resident, 180, at_least=False, unit="MB"),
        Bar("serving environment", disk, 250, at_least=False, unit="MB"),
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
