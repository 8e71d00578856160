"""The service as an operator's machine runs it: base dependencies alone, not root, from a tree that cannot be written.

Copies what a container image would hold, installs it into an empty virtual environment, starts the service and asks it
for its health and for a picture of every model that can sample. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALLED_FROM = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
SERVED_FROM = ("app", "models")
FORBIDDEN = ("torch", "onnx", "onnxscript", "sklearn", "training")
WITHOUT_POWERS = (
    ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"],  # the container's user
    ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"],  # where only root may read the interpreter
)
PATIENCE_S = 60.0


def main() -> int:
    """0 when everything was as promised; the first broken promise is raised."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        python = install(place)
        tree = read_only_copy(place / "tree")
        try:
            missing_as_promised(python, tree)
            with serving(python, tree) as address:
                ready = wait_until_ready(address)
                for model in ready:
                    ask_for_a_picture(address, model)
        finally:
            make_writable(tree)
    say(f"served {', '.join(ready)}; stopped cleanly")
    return 0


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"smoke: {text}\n")
    sys.stdout.flush()


def install(place: Path) -> Path:
    """The base dependencies in an environment of their own; the path of its Python."""
    started = time.monotonic()
    source, environment = place / "source", place / "environment"
    source.mkdir()
    for name in INSTALLED_FROM:
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    subprocess.run([*pip, "--upgrade", "pip"], cwd=source, check=True)
    subprocess.run([*pip, "--build-constraint", "constraints.txt", "--only-deps", "."], cwd=source, check=True)
    mebibytes = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file()) / 2**20
    say(f"installed the base dependencies: {mebibytes:.0f} MiB in {time.monotonic() - started:.0f} s")
    return python


def read_only_copy(tree: Path) -> Path:
    """What serving needs, and no right to write any of it."""
    for name in SERVED_FROM:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return tree


def make_writable(tree: Path) -> None:
    """So that the copy can be removed by whoever made it."""
    for path in (tree, *tree.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def unprivileged(python: Path) -> list[str]:
    """What to write before a command so that it runs without root's powers; nothing where there are none to give up."""
    if os.getuid() != 0:
        return []
    for prefix in WITHOUT_POWERS:
        with suppress(OSError):
            if subprocess.run([*prefix, python, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                say(" ".join(prefix))
                return prefix
    raise SystemExit("smoke: run this as another user than root: there is no setpriv here")


def missing_as_promised(python: Path, tree: Path) -> None:
    """Raise when anything that only training needs can be imported."""
    question = f"import importlib.util as u; print(*[n for n in {FORBIDDEN!r} if u.find_spec(n)])"
    answer = subprocess.run([python, "-c", question], cwd=tree, check=True, capture_output=True, text=True)
    found = answer.stdout.strip()
    if found:
        raise SystemExit(f"smoke: the base dependencies bring {found}")


@contextmanager
def serving(python: Path, tree: Path) -> Iterator[str]:
    """The address of a service that runs meanwhile, and must end well when told to."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LATENTSERVE_PORT": str(port)}
    process = subprocess.Popen([*unprivileged(python), python, "-m", "app"], cwd=tree, env=environment)
    try:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        if status := process.wait(PATIENCE_S):
            raise SystemExit(f"smoke: the service ended with status {status}")
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until_ready(address: str) -> list[str]:
    """`name@version` of every model served, once /readyz is green."""
    started = time.monotonic()
    while True:
        try:
            body = json.loads(fetch(f"{address}/readyz"))
            break
        except urllib.error.HTTPError as error:
            reason = error.read().decode()
        except OSError as error:
            reason = str(error)
        if time.monotonic() - started > PATIENCE_S:
            raise SystemExit(f"smoke: not ready after {PATIENCE_S:.0f} s: {reason}")
        time.sleep(0.1)
    if body["failed"]:
        raise SystemExit(f"smoke: models that failed: {body['failed']}")
    say(f"ready {time.monotonic() - started:.1f} s after the start")
    return list(body["ready"])


def ask_for_a_picture(address: str, model: str) -> None:
    """Raise unless `model` draws a PNG."""
    if not fetch(f"{address}/v1/models/{model}/sample.png?seed=7").startswith(b"\x89PNG\r\n\x1a\n"):
        raise SystemExit(f"smoke: {model} answered something that is no PNG")


def fetch(address: str) -> bytes:
    """The body of a GET; an HTTP error is raised."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        body: bytes = answer.read()
        return body


if __name__ == "__main__":
    sys.exit(main())
