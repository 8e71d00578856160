"""Hold servers of the Open Inference Protocol to the cases, side by side in one run, and print the table.

`python -m tests.service.conformance --mlserver VENV --kserve VENV` takes the environments that the peers are installed
in; a peer without one has no column. `--write` puts the table into the documentation.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.app.tiny_models import write_tiny_models
from tests.service.conformance.cases import CASES, said
from tests.service.conformance.client import FLAVOURS, Caller, Case, Flavour, Target
from tests.service.conformance.graph import encode
from tests.service.conformance.table import in_page, table

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "open-inference-protocol.md"
PATIENCE_S = 60.0


@contextlib.contextmanager
def serving(command: list[str], port: int, folder: Path, **variables: str) -> Iterator[str]:
    """A server's process, once it answers; the address without a scheme."""
    environment = {**os.environ, **variables}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(process, f"127.0.0.1:{port}", folder)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _wait_for(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), contextlib.closing(Caller("sync", address)) as caller:
            if caller.is_server_live():
                return
        time.sleep(0.2)
    raise SystemExit(f"{address} does not answer:\n{(folder / 'server.log').read_text()[-2000:]}")


@contextlib.contextmanager
def latentserve(folder: Path) -> Iterator[Target]:
    """This service, with an administrator."""
    write_tiny_models(folder / "models")
    (folder / "admins").write_text(f"root:{hashlib.sha256(b'conformance').hexdigest()}\n")
    named = {"MODELS_DIR": "models", "ADMIN_KEYS_FILE": "admins", "PORT": "8471"}
    variables = {f"LATENTSERVE_{name}": value for name, value in named.items()}
    with serving([sys.executable, "-m", "app"], 8471, folder, PYTHONPATH=str(ROOT), **variables) as address:
        yield Target(address, "tiny_vae.image_to_latent", "1", encode, {"Authorization": "Bearer conformance"})


@contextlib.contextmanager
def mlserver(folder: Path, environment: Path) -> Iterator[Target]:
    """MLServer with the graph as a custom runtime."""
    shapes = {"image": [-1, 1, 8, 8], "noise": [-1, 2], "latent": [-1, 2], "mean": [-1, 2], "scale": [-1, 2]}
    tensors = [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in shapes.items()]
    model = {
        "name": "encoder",
        "platform": "numpy",
        "implementation": "mlserver_encoder.Encoder",
        "parameters": {"version": "1"},
        "versions": ["1"],
        "inputs": tensors[:2],
        "outputs": tensors[2:],
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    ports = {"http_port": 8472, "grpc_port": 8473, "metrics_port": 8474, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(ports))
    command = [str(environment / "bin" / "mlserver"), "start", "."]
    with serving(command, 8472, folder, PYTHONPATH=_peer_path()) as address:
        yield Target(address, "encoder", "1", encode, {})


@contextlib.contextmanager
def kserve(folder: Path, environment: Path) -> Iterator[Target]:
    """KServe's Python server with the graph as a custom predictor."""
    command = [str(environment / "bin" / "python"), str(HERE / "peers" / "kserve_encoder.py"), "8475"]
    with serving(command, 8475, folder, PYTHONPATH=_peer_path()) as address:
        yield Target(address, "encoder", "1", encode, {})


def _peer_path() -> str:
    return os.pathsep.join((str(HERE), str(HERE / "peers")))


def failure(case: Case, target: Target, flavour: Flavour) -> str | None:
    """Why the server fails the case, or None."""
    caller = Caller(flavour, target.address)
    try:
        case(caller, target)
    except Exception as error:  # whatever it is, the server did not do what the client relies on
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]} ({line})"
    finally:
        with contextlib.suppress(Exception):  # a failed case may leave requests of the client's behind
            caller.close()
    return None


def main() -> None:
    """Run everything, print every failure and the table."""
    options = _options()
    servers: dict[str, Callable[[Path], contextlib.AbstractContextManager[Target]]] = {"LatentServe": latentserve}
    for name, server in (("MLServer", mlserver), ("KServe", kserve)):
        if environment := getattr(options, name.lower()):
            servers[f"{name} {_installed(environment, name.lower())}"] = partial(server, environment=environment)
    results = {}
    for name, server in servers.items():
        with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as target:
            results[name] = _results(name, target)
    text = table(results, client=f"tritonclient {version('tritonclient')}")
    sys.stdout.write(text)
    if options.write:
        PAGE.write_text(in_page(PAGE.read_text(), text))


def _results(name: str, target: Target) -> Mapping[str, Mapping[Flavour, bool]]:
    found: dict[str, dict[Flavour, bool]] = {}
    for case in CASES:
        found[said(case)] = {}
        for flavour in FLAVOURS:
            reason = failure(case, target, flavour)
            found[said(case)][flavour] = reason is None
            if reason:
                sys.stderr.write(f"{name}, {flavour}: {case.__name__}: {reason}\n")
    return found


def _installed(environment: Path, package: str) -> str:
    script = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([environment / "bin" / "python", "-c", script], text=True).strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.service.conformance", description=__doc__)
    parser.add_argument("--mlserver", type=Path, help="a virtual environment with MLServer in it")
    parser.add_argument("--kserve", type=Path, help="a virtual environment with KServe in it")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
