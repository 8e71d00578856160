"""How many importance samples each picture gets: so many, or as many as its interval needs. Pure but for the waiting.

The k-th sample of a picture has the same noise however many are asked for. Samples are weighed in parts, each of which
waits its turn in the graph's queue, and only a tally of them is kept: memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.density.bounds import Bounds, Tally
from app.runtime.batch import Array
from app.runtime.batcher import Answer
from app.runtime.evidence import SAMPLES_A_ROW

ROWS_AT_ONCE = 512
"""Of one request in the graph's queue: whatever the default limits allow fits, and leaves half the queue to others."""
NUMBERS_AT_ONCE = 2**22
"""Of noise in memory for one request: 16 MiB."""
DRAWS_AT_ONCE = 256
"""Rows of one draw each, in graphs that take no more in a row."""

Indices = npt.NDArray[np.intp]
Weigh = Callable[[Indices, int, int], Awaitable[tuple[Mapping[str, Array], Answer]]]
"""The log terms (N, stop − start) of samples start … stop − 1 of the pictures at these indices."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Importance samples a picture: `samples` at first, then twice as many, and again, up to `most`.

    A picture has enough once the 95 % interval of its bound is within `half_width_nats` to either side; where that is
    None nothing is enough.
    """

    samples: int
    most: int
    half_width_nats: float | None = None

    @classmethod
    def fixed(cls, samples: int) -> Effort:
        """So many, whatever comes of them."""
        return cls(samples, samples)

    def is_met_by(self, bounds: Bounds) -> bool:
        """Whether the interval asked for was reached."""
        return self.half_width_nats is not None and bounds.is_within(self.half_width_nats)


@dataclass(slots=True)
class Weighed:
    """Bounds and the number of samples behind them, of N pictures; and what the graph's queue answered."""

    bounds: dict[int, Bounds] = field(default_factory=dict)
    samples: dict[int, int] = field(default_factory=dict)
    opening: list[Bounds] = field(default_factory=list)
    """Of the first samples alone, where these were asked for."""
    answers: list[Answer] = field(default_factory=list)


async def weigh_pictures(weigh: Weigh, count: int, latent_size: int, effort: Effort, *, opening: int = 0) -> Weighed:
    """Bounds of `count` pictures, whose noise has `latent_size` numbers a sample; and from the first `opening` samples.

    These are weighed even where fewer are asked for.
    """
    active, found = np.arange(count), Weighed()
    cuts = sorted({effort.samples, opening} - {0})
    tallies = await _tallies(weigh, active, range(cuts[-1]), cuts, latent_size, found.answers)
    found.opening = tallies[opening].bounds() if opening else []
    tally = tallies[effort.samples]
    while True:
        bounds = tally.bounds()
        more = np.array([tally.count < effort.most and not effort.is_met_by(bound) for bound in bounds])
        for index in np.flatnonzero(~more):
            found.bounds[int(active[index])], found.samples[int(active[index])] = bounds[index], tally.count
        if not more.any():
            return found
        active, tally = active[more], tally.take(more)
        further = range(tally.count, min(2 * tally.count, effort.most))
        later = await _tallies(weigh, active, further, [further.stop], latent_size, found.answers)
        tally = tally.merged(later[further.stop])


async def _tallies(
    weigh: Weigh, active: Indices, samples: range, cuts: Sequence[int], latent_size: int, answers: list[Answer]
) -> dict[int, Tally]:
    """Of these samples of the active pictures, up to each of `cuts`; weighed a part after the other."""
    tallies: dict[int, Tally] = {}
    tally: Tally | None = None
    for start, stop in _parts(samples, len(active), latent_size):
        terms, answer = await weigh(active, start, stop)
        answers.append(answer)
        for first, last in pairwise([start, *(cut for cut in cuts if start < cut < stop), stop]):
            piece = Tally.of(**{name: term[:, first - start : last - start] for name, term in terms.items()})
            tally = tallies[last] = piece if tally is None else tally.merged(piece)
    return tallies


def _parts(samples: range, count: int, latent_size: int) -> Iterator[tuple[int, int]]:
    rows, draws = max(1, ROWS_AT_ONCE // count), max(1, NUMBERS_AT_ONCE // (count * latent_size))
    size = min(rows * SAMPLES_A_ROW, draws)
    for start in range(samples.start, samples.stop, size):
        yield start, min(start + size, samples.stop)


@dataclass(frozen=True, slots=True)
class Draws:
    """Samples start … stop − 1 of one picture."""

    picture: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def draws_in_parts(samples: Sequence[int]) -> Iterator[list[Draws]]:
    """All the samples of every picture, picture i having `samples[i]`, at most DRAWS_AT_ONCE at a time."""
    part: list[Draws] = []
    room = DRAWS_AT_ONCE
    for picture, count in enumerate(samples):
        start = 0
        while start < count:
            part.append(Draws(picture, start, min(count, start + room)))
            room -= len(part[-1])
            start = part[-1].stop
            if not room:
                yield part
                part, room = [], DRAWS_AT_ONCE
    if part:
        yield part
