"""Sizes that keep a file readable, and places that stay empty."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from app.manifest import json_schema

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "training", "tests", "benchmarks", ".ci")
MOST_FILE_LINES, MOST_FUNCTION_LINES = 400, 80


def sources() -> Iterator[Path]:
    """Every Python file of ours."""
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in sources():
        text = path.read_text()
        if (lines := text.count("\n")) > MOST_FILE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_importing_app_runs_nothing() -> None:
    assert (ROOT / "app" / "__init__.py").read_bytes() == b""


def test_models_hold_no_code() -> None:
    assert list((ROOT / "models").rglob("*.py")) == []


def test_committed_schema_is_the_manifest_s() -> None:
    assert (ROOT / "models" / "manifest.schema.json").read_text() == json_schema(), "run make schema"
