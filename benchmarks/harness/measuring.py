"""Working through the cells of a table, each trained in a process of its own that keeps its result in a file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.cells import Cell, NoSuchCell, claimed, select
from benchmarks.harness.models import ROOT, SCRATCH
from benchmarks.harness.options import parser

SAMPLES = 10_000
SEEDS = 3


def cell_options(description: str | None, *, runs: str, example: str) -> argparse.ArgumentParser:
    """The options of a command that measures cells; `--rounds` counts their seeds."""
    options = parser(description, rounds=SEEDS)
    options.add_argument("--samples", type=int, default=SAMPLES, help=f"that are measured (default: {SAMPLES:,})")
    options.add_argument("--only", action="append", default=[], metavar="CELL", help=f"such as {example}, or a part")
    options.add_argument("--runs-dir", type=Path, default=SCRATCH / runs, help="where results are kept")
    options.add_argument("--data-dir", type=Path, help="where data sets are kept")
    return options


def asked_for(cells: Sequence[Cell], selections: Sequence[str]) -> list[Cell]:
    """The cells that are selected; ends the command where a selection names none."""
    try:
        return select(cells, selections)
    except NoSuchCell as error:
        sys.exit(str(error))


def measure(cells: Sequence[Cell], folder: Path, settings: Sequence[str], data_dir: Path | None) -> None:
    """Train and measure the cells that have no result, but for those that another process is at."""
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        kept = folder / cell.file
        if kept.exists():
            continue
        with claimed(kept) as lock:
            if lock is None or kept.exists():
                continue
            print(f"{cell.name} …", file=sys.stderr, flush=True)
            where = ["--runs-dir", str(folder), *(["--data-dir", str(data_dir)] if data_dir else [])]
            subprocess.run(
                [sys.executable, "-m", "benchmarks.trainers.gan_cell", cell.name, *settings, *where],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                pass_fds=[lock],
                check=True,
            )
