"""The cells of a large table: each has a name and a file, is measured once, and by one process at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

RECIPES = ("dcgan", "lsgan", "wgan_gp", "acgan")
SETS = ("mnist", "fashion_mnist")
OURS, REFERENCE = SIDES = ("ours", "reference")
PRECISIONS = ("bfloat16", "float32")
ANY = "*"
"""In place of a part of a cell's name: whatever it is."""


class NoSuchCell(ValueError):
    """A selection names none."""


@dataclass(frozen=True)
class Cell:
    """One training: a recipe, the pictures, a seed, and which of the two sides that are compared."""

    recipe: str
    data: str
    seed: int
    side: str

    @property
    def name(self) -> str:
        """As selections have it: `dcgan:mnist:1:ours`."""
        return ":".join(self._parts)

    @property
    def file(self) -> str:
        """Of its result."""
        return "-".join(self._parts) + ".json"

    @property
    def _parts(self) -> tuple[str, ...]:
        return self.recipe, self.data, str(self.seed), self.side

    def matches(self, selection: str) -> bool:
        """Whether `selection` names it: parts of the name, in order, some of them `*`; those left out are any."""
        asked = selection.split(":")
        named = zip(asked, self._parts, strict=False)
        return len(asked) <= len(self._parts) and all(part in (ANY, own) for part, own in named)


def grid(seeds: int, sets: Sequence[str] = SETS, sides: Sequence[str] = SIDES) -> list[Cell]:
    """All cells of the seeds 1, 2, …: seed by seed, the two that are compared one after the other."""
    return [
        Cell(recipe, data, seed, side)
        for seed in range(1, seeds + 1)
        for recipe in RECIPES
        for data in sets
        for side in sides
    ]


def select(cells: Sequence[Cell], selections: Sequence[str]) -> list[Cell]:
    """The cells that any of the selections names, in their order; all where there is none. Raises NoSuchCell."""
    for selection in selections:
        if not any(cell.matches(selection) for cell in cells):
            raise NoSuchCell(f"{selection!r} is no cell; one is {cells[0].name}, and parts may be left out or {ANY}")
    return [cell for cell in cells if not selections or any(map(cell.matches, selections))]


@dataclass(frozen=True)
class CellResult:
    """What one training came to."""

    frechet_distance: float
    floor: float
    """That of as many training pictures, in the place of the samples."""
    kernel_distance: float
    kernel_distance_error: float
    batch_frechet_distance: float | None
    """Of a reference: had its batch norms drawn each sample with the statistics of its batch."""
    class_shares: tuple[float, ...]
    """Of the samples, as the judge sees them."""
    label_agreement: float | None
    """The share of samples that the judge takes for the class that was asked for, where one was."""
    samples: int
    judge: str
    images: int
    steps: int
    cpu_s: float
    wall_s: float
    parameters: dict[str, int]
    torch: str

    @property
    def counted_distance(self) -> float:
        """The lower of both, where there are two."""
        among = (self.frechet_distance, self.batch_frechet_distance)
        return min(distance for distance in among if distance is not None)

    @property
    def images_per_s(self) -> float:
        """Real pictures that the discriminator saw in a second."""
        return self.images / self.cpu_s

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(**kept | {"class_shares": tuple(kept["class_shares"])})

    def save(self, path: Path) -> None:
        """Write the file in one step: a killed cell leaves none."""
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        beside.replace(path)


def results(folder: Path, cells: Sequence[Cell]) -> dict[Cell, CellResult]:
    """Those of `cells` that are there."""
    return {cell: CellResult.load(path) for cell in cells if (path := folder / cell.file).exists()}


@contextmanager
def claimed(path: Path) -> Iterator[int | None]:
    """A lock on the result `path` that ends with the processes that hold it: its descriptor, or None where it is taken.

    The descriptor is to be passed on to the process that works for the result.
    """
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock.fileno()
