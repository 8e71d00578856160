"""The tables of `benchmarks.references`: two sides of each recipe, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.harness.cells import OURS, RECIPES, REFERENCE, SETS, Cell, CellResult
from benchmarks.harness.report import Bar, bars, circumstances, table

HALF = 0.5
FASTER = 1.7
"""WGAN-GP's too, though our generator takes a step after every second of its critic's, and theirs after a fifth."""
COLUMNS = ("recipe, pictures", "seed", "FD ours", "FD reference", "ours / reference", "floor")
SPEED_COLUMNS = ("recipe, pictures", "images/s ours", "reference", "ours / reference", "steps ours", "reference")
EVEN_COLUMNS = ("recipe, pictures", "rarest class, ours", "reference", "most frequent, ours", "reference")
MISSING_COLUMNS = ("recipe, pictures", "seeds without ours", "without the reference")

Results = Mapping[Cell, CellResult]


@dataclass(frozen=True)
class Pair:
    """Both sides of one seed."""

    seed: int
    ours: CellResult
    reference: CellResult


def pairs(found: Results, recipe: str, data: str) -> list[Pair]:
    """The seeds of which both sides are there."""
    seeds = sorted({cell.seed for cell in found if (cell.recipe, cell.data) == (recipe, data)})
    sides = [(seed, *(found.get(Cell(recipe, data, seed, side)) for side in (OURS, REFERENCE))) for seed in seeds]
    return [Pair(seed, ours, theirs) for seed, ours, theirs in sides if ours is not None and theirs is not None]


def distance_ratio(seeds: Sequence[Pair]) -> float:
    """Our mean distance over the seeds, in the reference's."""
    return mean(pair.ours.counted_distance for pair in seeds) / mean(pair.reference.counted_distance for pair in seeds)


def speed_ratio(seeds: Sequence[Pair]) -> float:
    """Our median of images a second over the seeds, in the reference's."""
    return median(pair.ours.images_per_s for pair in seeds) / median(pair.reference.images_per_s for pair in seeds)


def report(found: Results, wanted: Sequence[Cell], seconds: float) -> str:
    """All tables of what is there, and what is missing."""
    played = {key: seeds for recipe in RECIPES for data in SETS if (seeds := pairs(found, *(key := (recipe, data))))}
    said = [circumstances("torch")]
    if played:
        said += [
            _protocol(found, seconds),
            table(COLUMNS, [row for key, seeds in played.items() for row in _distances(key, seeds)]),
            table(SPEED_COLUMNS, [_speeds(key, seeds) for key, seeds in played.items()]),
            table(EVEN_COLUMNS, [_evenness(key, seeds) for key, seeds in played.items()]),
            bars([bar for key, seeds in played.items() for bar in _bars(key, seeds)]),
        ]
    return "\n\n".join([*said, *_still_missing(found, wanted)])


def _protocol(found: Results, seconds: float) -> str:
    some = next(iter(found.values()))
    judges = " and ".join(sorted({f"FD-{result.judge}" for result in found.values()}))
    return (
        f"{seconds:g} seconds of one thread a cell, by the process' own time on the processor. {judges}: "
        f"{some.samples:,} samples against as many test images, in the features of the committed classifier of the "
        "pictures; the floor is that of as many training images. Of a reference the lower of two distances counts: "
        "with running statistics in its generator's batch norms, and with those of each batch. Ratios of seeds are of "
        "the means, speeds medians."
    )


def _distances(key: tuple[str, str], seeds: Sequence[Pair]) -> list[list[str]]:
    rows = []
    for pair in seeds:
        ours, theirs = pair.ours.counted_distance, pair.reference.counted_distance
        rows.append([_name(key), str(pair.seed), f"{ours:.3g}", f"{theirs:.3g}", f"{ours / theirs:.2f}", _floor(pair)])
    return rows


def _floor(pair: Pair) -> str:
    return f"{pair.ours.floor:.3g}"


def _speeds(key: tuple[str, str], seeds: Sequence[Pair]) -> list[str]:
    ours, theirs = [pair.ours for pair in seeds], [pair.reference for pair in seeds]
    speeds = [f"{median(result.images_per_s for result in side):,.0f}" for side in (ours, theirs)]
    steps = [f"{median(result.steps for result in side):,.0f}" for side in (ours, theirs)]
    return [_name(key), *speeds, f"{speed_ratio(seeds):.2f}", *steps]


def _evenness(key: tuple[str, str], seeds: Sequence[Pair]) -> list[str]:
    rarest = [min(min(getattr(pair, side).class_shares) for pair in seeds) for side in (OURS, REFERENCE)]
    frequent = [max(max(getattr(pair, side).class_shares) for pair in seeds) for side in (OURS, REFERENCE)]
    return [_name(key), *(f"{100 * share:.1f} %" for share in (*rarest, *frequent))]


def _bars(key: tuple[str, str], seeds: Sequence[Pair]) -> list[Bar]:
    count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    return [
        Bar(f"{_name(key)}: FD / the reference's, {count}", distance_ratio(seeds), HALF, at_least=False),
        Bar(f"{_name(key)}: images/s / the reference's, {count}", speed_ratio(seeds), FASTER, at_least=True),
    ]


def _name(key: tuple[str, str]) -> str:
    return ", ".join(key)


def _still_missing(found: Results, wanted: Sequence[Cell]) -> list[str]:
    """Which cells have no result, as a table of seeds; nothing where all have one."""
    missing = [cell for cell in wanted if cell not in found]
    if not missing:
        return []
    rows = []
    for key in dict.fromkeys((cell.recipe, cell.data) for cell in missing):
        sides = (sorted(cell.seed for cell in missing if (*key, side) == _trio(cell)) for side in (OURS, REFERENCE))
        rows.append([_name(key), *(", ".join(map(str, seeds)) for seeds in sides)])
    return [f"Not measured yet, {len(missing)} of {len(wanted)} cells:", table(MISSING_COLUMNS, rows)]


def _trio(cell: Cell) -> tuple[str, str, str]:
    return cell.recipe, cell.data, cell.side
