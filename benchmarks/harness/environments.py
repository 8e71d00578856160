"""Virtual environments under the scratch folder: one a peer, so that nobody's pins bind another's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.models import ROOT, SCRATCH


class NotInstalled(Exception):
    """pip refused."""


def environment(name: str, arguments: Sequence[str]) -> Path:
    """The folder of programs of the environment `name`, holding what `pip install` makes of `arguments`.

    Made once; made again when the arguments change. Raises NotInstalled with the end of pip's complaint.
    """
    folder = SCRATCH / "environments" / name
    stamp, wanted = folder / "installed.json", json.dumps(list(arguments))
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {name} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _pip(folder, arguments)
        stamp.write_text(wanted)
    return folder / "bin"


def _pip(folder: Path, arguments: Sequence[str]) -> None:
    command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise NotInstalled(ran.stderr.strip()[-300:])


def versions(programs: Path, packages: Sequence[str]) -> str:
    """What is installed there of `packages`, as "name version, name version"."""
    code = (
        "import sys; from importlib.metadata import version as v; print(', '.join(f'{p} {v(p)}' for p in sys.argv[1:]))"
    )
    ran = subprocess.run([programs / "python", "-c", code, *packages], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def disk_mb(folder: Path) -> float:
    """What the files below `folder` take on the disk, in MB."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(file.st_blocks * 512 for file in files) / 1e6
