"""What computing in bfloat16 costs a GAN and what it saves: `python -m benchmarks.precision`.

DCGAN, LSGAN, WGAN-GP and ACGAN on MNIST, by the recipes of `benchmarks.references`, in bfloat16 and in float32: the
same initial weights, the same batches and noise, the same number of steps. Every cell is a process of its own on one
thread, and resumable as there: give the command once for each core; the last one to end prints the whole table.
"""

from __future__ import annotations

import sys

from benchmarks.harness.cells import PRECISIONS, grid, results
from benchmarks.harness.halving import report
from benchmarks.harness.measuring import asked_for, cell_options, measure
from benchmarks.harness.report import publish

STEPS = 1500
"""About as many as the float32 loops of `benchmarks.references` take in their three minutes."""
QUICK_STEPS, QUICK_SAMPLES = 10, 500


def main() -> int:
    """Measure what is missing, and print what is there."""
    options = cell_options(__doc__, runs="precision", example="dcgan:mnist:1:bfloat16")
    options.add_argument("--steps", type=int, default=STEPS, help=f"of training a cell (default: {STEPS:,})")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.steps, chosen.samples, chosen.rounds = QUICK_STEPS, QUICK_SAMPLES, 1
    cells = grid(chosen.rounds, sets=["mnist"], sides=PRECISIONS)
    asked = asked_for(cells, chosen.only)
    folder = chosen.runs_dir / f"{chosen.steps}-{chosen.samples}"
    measure(asked, folder, ["--steps", str(chosen.steps), "--samples", str(chosen.samples)], chosen.data_dir)
    publish("precision", report(results(folder, cells), cells), chosen.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
