"""The tables of `benchmarks.precision`: each recipe in two precisions, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median, stdev

from benchmarks.harness.cells import PRECISIONS, RECIPES, Cell, CellResult
from benchmarks.harness.report import Bar, bars, circumstances, table

AS_GOOD = 1.05
"""Of the distance in float32: far less than two seeds differ."""
COLUMNS = ("recipe", "seed", "FD bfloat16", "FD float32", "bfloat16 / float32", "images/s bfloat16", "float32", "ratio")

Results = Mapping[Cell, CellResult]


@dataclass(frozen=True)
class Twins:
    """One training in both precisions."""

    recipe: str
    seed: int
    half: CellResult
    full: CellResult

    @property
    def distances(self) -> float:
        """The Fréchet distance in bfloat16, in that in float32."""
        return self.half.frechet_distance / self.full.frechet_distance

    @property
    def speeds(self) -> float:
        """Images a second in bfloat16, in those in float32."""
        return self.half.images_per_s / self.full.images_per_s


def twins(found: Results) -> list[Twins]:
    """The trainings of which both precisions are there, recipe by recipe."""
    made = []
    for recipe in RECIPES:
        for seed in sorted({cell.seed for cell in found if cell.recipe == recipe}):
            half, full = (found.get(Cell(recipe, "mnist", seed, precision)) for precision in PRECISIONS)
            if half is not None and full is not None:
                made.append(Twins(recipe, seed, half, full))
    return made


def spread(ratios: Sequence[float]) -> float:
    """The standard error of a geometric mean, as a factor less one: 0.1 for ×/÷ 1.1. Infinite for a single ratio."""
    if len(ratios) < 2:
        return math.inf
    return math.expm1(stdev(map(math.log, ratios)) / math.sqrt(len(ratios)))


def report(found: Results, wanted: Sequence[Cell]) -> str:
    """The table of what is there, the mean ratio with its error, and what is missing."""
    said = [circumstances("torch")]
    if pairs := twins(found):
        said += [_protocol(pairs[0].half), table(COLUMNS, [_row(pair) for pair in pairs]), _means(pairs)]
    if missing := len(wanted) - len(found):
        said.append(f"Not measured yet: {missing} of {len(wanted)} cells.")
    return "\n\n".join(said)


def _protocol(some: CellResult) -> str:
    return (
        f"{some.steps:,} steps a cell, one thread. FD-{some.judge}: {some.samples:,} samples of the averaged generator "
        f"against as many test images; as many training images have {some.floor:.3g}. Images a second by the process' "
        "own time on the processor."
    )


def _row(pair: Twins) -> list[str]:
    distances = [f"{side.frechet_distance:.3g}" for side in (pair.half, pair.full)]
    speeds = [f"{side.images_per_s:,.0f}" for side in (pair.half, pair.full)]
    return [pair.recipe, str(pair.seed), *distances, f"{pair.distances:.2f}", *speeds, f"{pair.speeds:.2f}"]


def _means(pairs: Sequence[Twins]) -> str:
    ratios = [pair.distances for pair in pairs]
    error = spread(ratios)
    within = f" ×/÷ {1 + error:.3f}" if math.isfinite(error) else ""
    kept = bars([Bar("FD in bfloat16 / in float32, geometric mean", geometric_mean(ratios), AS_GOOD, at_least=False)])
    speed = median(pair.speeds for pair in pairs)
    return (
        f"Over these {len(pairs)}: FD in bfloat16 is {geometric_mean(ratios):.3f}{within} of that in float32 "
        f"(geometric mean and its standard error), images a second {speed:.2f} × (median).\n\n{kept}"
    )
