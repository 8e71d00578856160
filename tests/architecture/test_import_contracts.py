"""Who may import whom: the contracts hold, and each of them bites when it is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OFFENCES = {
    "The service reaches neither the workshop nor PyTorch nor onnx": ("app/latent/offence.py", "import torch"),
    "Within the service, arrows point down": ("app/density/offence.py", "import app.runtime.model"),
    "The manifest imports nothing of ours": ("app/manifest.py", "import app.errors"),
    "Only the entry point and the factory see the settings": ("app/runtime/offence.py", "import app.settings"),
    "FastAPI only in the API": ("app/images/offence.py", "import fastapi"),
    "onnxruntime only in runtime/session.py": ("training/export/offence.py", "import onnxruntime"),
    "Pillow, within the service, only in images/raster.py": ("app/api/offence.py", "import PIL.Image"),
    "The workshop uses the contract and the pure parts of the service, nothing else": (
        "training/evaluation/offence.py",
        "import app.runtime.batcher",
    ),
    "Only evaluation and export run graphs as the service does": (
        "training/nets/offence.py",
        "import app.runtime.session",
    ),
    "Within the workshop, arrows point down; the families do not meet": (
        "training/vae/offence.py",
        "import training.gan.model",
    ),
}
"""For each contract, a module that breaks it. The same copy of the code holds them all: linting it takes seconds."""


def lint_imports(folder: Path) -> str:
    """What import-linter says about the code and the contracts in `folder`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report_on_offences(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says about a copy of the code with every offence in it."""
    folder = tmp_path_factory.mktemp("offences")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in ("app", "training"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, statement in OFFENCES.values():
        with (folder / path).open("a") as file:
            file.write(f"\n{statement}\n")
    return lint_imports(folder)


def test_contracts_are_kept() -> None:
    assert " 0 broken" in lint_imports(ROOT)


def test_every_contract_has_its_offence() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {contract["name"] for contract in document["tool"]["importlinter"]["contracts"]} == OFFENCES.keys()


@pytest.mark.parametrize("contract", OFFENCES)
def test_contract_names_the_module_that_breaks_it(contract: str, report_on_offences: str) -> None:
    path, statement = OFFENCES[contract]
    offender = path.removesuffix(".py").replace("/", ".")
    section = rf"^{re.escape(contract)}\n-+\n(.*?)(?=\n\S[^\n]*\n---|\Z)"
    explanation = re.search(section, report_on_offences, re.DOTALL | re.MULTILINE)
    assert f"{contract} BROKEN" in report_on_offences
    assert explanation is not None
    assert f"{offender} -> {statement.removeprefix('import ').split('.Image')[0]}" in explanation.group(1)
