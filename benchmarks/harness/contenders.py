"""Who is measured: LatentServe, the peers, and an application that answers nothing.

The peers serve the very same graph file on the same cores through `benchmarks/servers`, each with its own batching, in
every form of answer that it has, with one worker or two, whichever is faster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import wires
from benchmarks.harness.environments import environment
from benchmarks.harness.environments import versions as installed_versions
from benchmarks.harness.models import ROOT, SCRATCH, Model
from benchmarks.harness.processes import Server, free_port, serving
from benchmarks.harness.wires import JSON, NPY, RAW, Wire

SERVERS = ROOT / "benchmarks" / "servers"
LATENTSERVE = "LatentServe"
WORKERS = (1, 2)
QUEUE_ROWS = 8192
"""The peers queue without a bound; at our default, 64 clients with 64 latents each would be refused in part."""


@dataclass(frozen=True)
class Contender:
    """One server and how to start it. `{port}` in the command and the variables stands for its port."""

    name: str
    command: tuple[str, ...]
    ready: str
    wires: tuple[Wire, ...]
    variables: dict[str, str] = field(default_factory=dict)
    peer: bool = False

    def serve(self) -> AbstractContextManager[Server]:
        """Run it on a port of its own."""
        port = free_port()
        log = SCRATCH / "logs" / f"{self.name.replace(' ', '_')}.log"
        return serving(
            [part.format(port=port) for part in self.command],
            port=port,
            ready=self.ready,
            environment=_inherited() | {name: text.format(port=port) for name, text in self.variables.items()},
            log=log,
        )


def latentserve(
    models_dir: Path, served: tuple[Wire, ...], *, workers: int = 1, python: str = sys.executable
) -> Contender:
    """The service as an operator starts it."""
    return Contender(
        name=_named(LATENTSERVE, workers),
        command=(python, "-m", "app"),
        ready="/readyz",
        wires=served,
        variables={
            "PYTHONPATH": str(ROOT),
            "LATENTSERVE_PORT": "{port}",
            "LATENTSERVE_WORKERS": str(workers),
            "LATENTSERVE_MODELS_DIR": str(models_dir),
            "LATENTSERVE_QUEUE_ROWS": str(QUEUE_ROWS),
        },
    )


def decode_wires(model: Model) -> tuple[Wire, ...]:
    """LatentServe's decode in its forms."""
    path = f"/v1/models/{model.name}/decode"
    return (
        Wire("JSON → bytes", path, model, wires.latents_json, wires.pictures_raw, JSON, RAW),
        Wire("JSON → JSON of PNGs", path, model, wires.latents_json, wires.pictures_png, JSON, JSON),
        Wire("npy → npy", path, model, wires.latents_npy, wires.pictures_npy, NPY, NPY),
    )


def nothing(model: Model) -> Contender:
    """uvicorn with an application that reads nothing and answers two bytes."""
    return Contender(
        name="bare ASGI",
        command=(
            *(sys.executable, "-m", "uvicorn", "bare_asgi:application", "--app-dir", str(SERVERS)),
            *("--port", "{port}", "--http", "httptools", "--loop", "uvloop", "--no-access-log"),
        ),
        ready="/",
        wires=(Wire("JSON → nothing", "/", model, wires.latents_json, None),),
    )


@dataclass(frozen=True)
class Peer:
    """A server that people would pick instead: what to install, and how it is started from there."""

    name: str
    requirements: tuple[str, ...]
    contenders: Callable[[Path, Model, int], Iterator[Contender]]

    @property
    def _environment(self) -> Path:
        runtime = [f"{package}=={version(package)}" for package in ("onnxruntime", "numpy")]
        return environment(self.name.replace(" ", "_").lower(), [*self.requirements, *runtime])

    def install(self, model: Model) -> list[tuple[Contender, ...]]:
        """Its servers, installed, each with every number of workers. Raises NotInstalled."""
        by_workers = [self.contenders(self._environment, model, workers) for workers in WORKERS]
        return list(zip(*by_workers, strict=True))

    def versions(self) -> str:
        """What it runs on. Raises NotInstalled."""
        packages = [requirement.split("==")[0].split("[")[0] for requirement in self.requirements[:1]]
        return installed_versions(self._environment, [*packages, "uvicorn", "onnxruntime"])


def _bentoml(programs: Path, model: Model, workers: int) -> Iterator[Contender]:
    forms = {"Lists": ("JSON → JSON", wires.pictures_list), "Bytes": ("JSON → bytes", wires.pictures_raw)}
    for service, (name, read) in forms.items():
        yield Contender(
            name=_named(f"BentoML ({service.lower()})", workers),
            command=(
                *(str(programs / "bentoml"), "serve", f"bentoml_server:{service}", "--working-dir", str(SERVERS)),
                *("--host", "127.0.0.1", "--port", "{port}"),
            ),
            ready="/readyz",
            wires=(Wire(name, "/decode", model, wires.latents_json, read),),
            variables=_orders(model, workers)
            | {
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # it starts its workers by name
                "BENTOML_HOME": str(SCRATCH / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            peer=True,
        )


def _litserve(programs: Path, model: Model, workers: int) -> Iterator[Contender]:
    yield Contender(
        name=_named("LitServe", workers),
        command=(str(programs / "python"), str(SERVERS / "litserve_server.py")),
        ready="/health",
        wires=(
            Wire("JSON → bytes", "/raw", model, wires.latents_json, wires.pictures_raw),
            Wire("JSON → JSON", "/decode", model, wires.latents_json, wires.pictures_lists),
        ),
        variables=_orders(model, workers),
        peer=True,
    )


def _mlserver(programs: Path, model: Model, workers: int) -> Iterator[Contender]:
    yield Contender(
        name=_named("MLServer", workers),
        command=(str(programs / "mlserver"), "start", str(SERVERS / "mlserver_models")),
        ready="/v2/health/ready",
        wires=(
            Wire("JSON → base64", "/v2/models/base64/infer", model, wires.latents_v2, wires.pictures_v2_base64),
            Wire("JSON → JSON", "/v2/models/lists/infer", model, wires.latents_v2, wires.pictures_v2),
        ),
        variables=_orders(model, workers)
        | {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": str(free_port()),
            "MLSERVER_METRICS_PORT": str(free_port()),
            "MLSERVER_PARALLEL_WORKERS": "0" if workers == 1 else str(workers),  # 0: the server's own process
            "MLSERVER_DEBUG": "false",
        },
        peer=True,
    )


def _ray(programs: Path, model: Model, workers: int) -> Iterator[Contender]:
    yield Contender(
        name=_named("Ray Serve", workers),
        command=(str(programs / "python"), str(SERVERS / "ray_server.py")),
        ready="/decode",
        wires=(
            Wire("bytes → bytes", "/decode", model, wires.latents_raw, wires.pictures_raw, RAW, RAW),
            Wire("JSON → JSON", "/decode", model, wires.latents_json, wires.pictures_lists),
        ),
        variables=_orders(model, workers) | {"RAY_USAGE_STATS_ENABLED": "0"},
        peer=True,
    )


PEERS = (
    Peer("BentoML", ("bentoml==1.4.39",), _bentoml),
    Peer("LitServe", ("litserve==0.2.19",), _litserve),
    Peer("MLServer", ("mlserver==1.7.1", "uvloop==0.21.0"), _mlserver),  # its workers do not start with later uvloops
    Peer("Ray Serve", ("ray[serve]==2.60.0",), _ray),
)


def _orders(model: Model, workers: int) -> dict[str, str]:
    space = model.manifest.image
    return {
        "PYTHONPATH": str(SERVERS),
        "BENCH_PORT": "{port}",
        "BENCH_WORKERS": str(workers),
        "BENCH_GRAPH": str(model.graph),
        "BENCH_LATENT": str(model.manifest.latent.size),
        "BENCH_IMAGE_BYTES": str(model.image_bytes),
        "BENCH_LOW": str(space.pixel_range.low),
        "BENCH_WIDTH": str(space.pixel_range.high - space.pixel_range.low),
        "DO_NOT_TRACK": "1",
    }


def _named(server: str, workers: int) -> str:
    return f"{server}, {workers} worker{'s' if workers > 1 else ''}"


def _inherited() -> dict[str, str]:
    """This process's variables, but for those that would turn the measured service's knobs."""
    return {name: text for name, text in os.environ.items() if not name.upper().startswith("LATENTSERVE_")}
