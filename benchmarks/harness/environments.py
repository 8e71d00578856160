"""Virtual environments under the scratch folder: one a peer, so that nobody's pins bind another's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.runtime.session import file_sha256
from benchmarks.harness.models import ROOT, SCRATCH

CONSTRAINTS = ROOT / "constraints.txt"

_PRINT_VERSIONS = """
import sys
from importlib.metadata import version
print(", ".join(f"{package} {version(package)}" for package in sys.argv[1:]))
"""


class NotInstalled(Exception):
    """pip refused."""


def environment(name: str, arguments: Sequence[str], *, reads: Sequence[Path] = ()) -> Path:
    """The folder of programs of the environment `name`, holding what `pip install` makes of `arguments`.

    Made once; made again when the arguments change, or the files that they read. Raises NotInstalled with the end of
    pip's complaint.
    """
    folder = SCRATCH / "environments" / name
    stamp = folder / "installed.json"
    wanted = json.dumps([*arguments, *(file_sha256(path) for path in reads)])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {name} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _pip(folder, ["--upgrade", "--constraint", str(CONSTRAINTS), "pip"])
        _pip(folder, arguments)
        stamp.write_text(wanted)
    return folder / "bin"


def serving_environment() -> Path:
    """The folder of programs of an environment that holds the service's base dependencies alone."""
    arguments = ["--constraint", str(CONSTRAINTS), "--only-deps", "."]
    return environment("serving", arguments, reads=(CONSTRAINTS, ROOT / "pyproject.toml"))


def _pip(folder: Path, arguments: Sequence[str]) -> None:
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ran = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise NotInstalled(ran.stderr.strip()[-300:])


def versions(programs: Path, packages: Sequence[str]) -> str:
    """What is installed there of `packages`, as "name version, name version"."""
    command = [str(programs / "python"), "-c", _PRINT_VERSIONS, *packages]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def disk_mb(folder: Path) -> float:
    """What the files below `folder` take on the disk, in MB."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.st_blocks * 512 for file in files) / 1e6
