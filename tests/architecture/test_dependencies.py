"""What is installed for serving, and that every version is pinned."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE: list[str] = PROJECT["project"]["dependencies"]
TRAIN: list[str] = PROJECT["project"]["optional-dependencies"]["train"]
DEVELOPMENT: list[str] = PROJECT["dependency-groups"]["dev"]

WORKSHOP_ONLY = {"torch", "onnx", "onnxscript", "onnx-ir", "scikit-learn", "scipy", "tensorboard", "jaxtyping"}


def closure(requirements: Iterable[str]) -> set[str]:
    """Canonical names of the requirements and of all that they require here, extras included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        key = canonicalize_name(requirement.name), frozenset(extras)
        if key in found or not applies(requirement, {""}):
            continue
        found.add(key)
        needed = [Requirement(line) for line in requirements_of(requirement.name)]
        waiting += [each for each in needed if applies(each, extras)]
    return {name for name, _ in found}


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether its marker holds on this machine, for any of these extras."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def requirements_of(name: str) -> list[str]:
    """What an installed distribution requires; nothing for one that is not here, as CUDA's beside a CPU build."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def pinned() -> dict[str, str]:
    """Versions by canonical name, from constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines), "one exact version a line, no local part"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_serving_requires_nothing_of_the_workshop() -> None:
    needed = closure(BASE)
    assert {"fastapi", "onnxruntime", "numpy", "pydantic-core"} <= needed
    assert not needed & WORKSHOP_ONLY
    assert closure(TRAIN) >= WORKSHOP_ONLY


def test_every_dependency_is_pinned() -> None:
    unpinned = closure([*BASE, *TRAIN, *DEVELOPMENT]) - pinned().keys()
    assert not {name for name in unpinned if not name.startswith(("nvidia-", "cuda-", "triton"))}, (
        "run make constraints; torch itself pins what it brings for CUDA"
    )


def test_pins_are_within_the_ranges_that_the_project_states() -> None:
    versions = pinned()
    outside = [
        line
        for line in (*BASE, *TRAIN, *DEVELOPMENT)
        if not (requirement := Requirement(line)).specifier.contains(versions[canonicalize_name(requirement.name)])
    ]
    assert outside == []


def test_importing_the_application_loads_neither_pytorch_nor_onnx_nor_the_workshop() -> None:
    question = "import sys, app.__main__, app.server; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", question], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "onnxscript", "sklearn", "training", "tests"}
