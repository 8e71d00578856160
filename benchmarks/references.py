"""Our GANs against plain references: `python -m benchmarks.references`.

DCGAN, LSGAN, WGAN-GP and ACGAN on MNIST and Fashion-MNIST, each by our experiment file and by a loop as the popular
collections have it (`benchmarks/trainers/plain_gan.py` says what is kept of them), on the same nets for the same time.
Every cell is a process of its own on one thread; what it came to is a file in the runs folder. A cell that is there is
not measured again, and one that was killed begins anew. Give the command once for each core: every process takes the
next cell that nobody is at. The last one to end prints the whole table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.cells import Cell, NoSuchCell, claimed, grid, results, select
from benchmarks.harness.models import ROOT, SCRATCH
from benchmarks.harness.options import parser
from benchmarks.harness.report import publish
from benchmarks.harness.rivalry import report

SECONDS = 180.0
SAMPLES = 10_000
SEEDS = 3
QUICK_SECONDS, QUICK_SAMPLES = 3.0, 500


def main() -> int:
    """Measure what is missing, and print what is there."""
    options = parser(__doc__, rounds=SEEDS)
    options.add_argument("--seconds", type=float, default=SECONDS, help=f"of training a cell (default: {SECONDS:g})")
    options.add_argument("--samples", type=int, default=SAMPLES, help="that are measured (default: 10,000)")
    options.add_argument(
        "--only", action="append", default=[], metavar="CELL", help="such as dcgan:mnist:1:ours or *:mnist"
    )
    options.add_argument("--runs-dir", type=Path, default=SCRATCH / "references", help="where results are kept")
    options.add_argument("--data-dir", type=Path, help="where data sets are kept")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.samples, chosen.rounds = QUICK_SECONDS, QUICK_SAMPLES, 1
    cells = grid(chosen.rounds)
    try:
        asked = select(cells, chosen.only)
    except NoSuchCell as error:
        sys.exit(str(error))
    folder = chosen.runs_dir / f"{chosen.seconds:g}s-{chosen.samples}"
    folder.mkdir(parents=True, exist_ok=True)
    measure(asked, folder, ["--seconds", str(chosen.seconds), "--samples", str(chosen.samples)], chosen.data_dir)
    publish("references", report(results(folder, cells), cells, chosen.seconds), chosen.markdown)
    return 0


def measure(cells: Sequence[Cell], folder: Path, settings: Sequence[str], data_dir: Path | None) -> None:
    """Train and measure the cells that have no result, but for those that another process is at."""
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


if __name__ == "__main__":
    sys.exit(main())
