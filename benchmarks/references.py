"""Our GANs against plain references: `python -m benchmarks.references`.

DCGAN, LSGAN, WGAN-GP and ACGAN on MNIST and Fashion-MNIST, each by our experiment file and by a loop as the popular
collections have it (`benchmarks/trainers/plain_gan.py` says what is kept of them), on the same nets for the same time.
Every cell is a process of its own on one thread; what it came to is a file in the runs folder. A cell that is there is
not measured again, and one that was killed begins anew. Give the command once for each core: every process takes the
next cell that nobody is at. The last one to end prints the whole table.
"""

from __future__ import annotations

import sys

from benchmarks.harness.cells import grid, results
from benchmarks.harness.measuring import asked_for, cell_options, measure
from benchmarks.harness.report import publish
from benchmarks.harness.rivalry import report

SECONDS = 180.0
QUICK_SECONDS, QUICK_SAMPLES = 3.0, 500


def main() -> int:
    """Measure what is missing, and print what is there."""
    options = cell_options(__doc__, runs="references", example="dcgan:mnist:1:ours")
    options.add_argument("--seconds", type=float, default=SECONDS, help=f"of training a cell (default: {SECONDS:g})")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.samples, chosen.rounds = QUICK_SECONDS, QUICK_SAMPLES, 1
    cells = grid(chosen.rounds)
    asked = asked_for(cells, chosen.only)
    folder = chosen.runs_dir / f"{chosen.seconds:g}s-{chosen.samples}"
    measure(asked, folder, ["--seconds", str(chosen.seconds), "--samples", str(chosen.samples)], chosen.data_dir)
    publish("references", report(results(folder, cells), cells, chosen.seconds), chosen.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
