"""Measure a graph for a moment and choose how to run it: threads inside a run, runs at a time, rows of a run.

A graph of convolutions keeps a core busy with few rows and gains from a second run beside the first; a dense one gains
from rows that share a run. Which is which shows in a few hundred milliseconds. No choice changes an answer: rows of a
published graph do not depend on their batch, and more threads are only chosen where they gave the same bytes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial

import numpy as np

from app.manifest import GraphSignature
from app.runtime.batch import Tensors, rows
from app.runtime.evidence import SAMPLES_A_ROW
from app.runtime.session import GraphSession

LARGEST_BATCH_ROWS = 64
"""Publication holds graphs to the same bytes up to here; beyond it a CPU gains nothing and the others wait longer."""
LONGEST_RUN_S = 0.05
"""A run that takes longer makes those who wait for the next one wait too long."""
HANDOFF_S = 1e-3
"""What a run costs besides the graph: to a thread and back while the event loop is busy, rows stacked and split."""
LANES_PAY_S = 2e-3
"""Where the largest batch takes less, rows are better joined than run side by side: more runs, more handing over."""
MOST_LANES = 8
ENOUGH = 0.97
"""The smallest batch with this share of the best rate is large enough."""
GAIN = 1.2
"""How much faster more lanes or threads must be to be chosen."""
QUIET = 0.8
"""Share of the time that a thread must have a core for: on a busy machine, gains of lanes and threads do not show."""
_TRIES, _TRY_S = 3, 0.02
_LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """How one graph is run: threads inside a run, runs at a time, rows of one run at most."""

    threads: int
    lanes: int
    max_batch_rows: int

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.lanes} lanes, {self.max_batch_rows} rows"

    def __post_init__(self) -> None:
        if not all(isinstance(number, int) and 1 <= number <= 65536 for number in astuple(self)):
            raise ValueError(f"a plan is three numbers from 1 on, got {self}")


@dataclass(frozen=True, slots=True)
class ByHand:
    """What an operator has decided; None is left to measuring."""

    threads: int | None = None
    lanes: int | None = None
    max_batch_rows: int | None = None

    @property
    def plain_threads(self) -> int:
        """Threads that a graph is opened on before it is measured."""
        return self.threads or 1

    def as_plan(self) -> Plan | None:
        """The plan, where nothing is left to measure."""
        if self.threads is None or self.lanes is None or self.max_batch_rows is None:
            return None
        return Plan(self.threads, self.lanes, self.max_batch_rows)


@dataclass(frozen=True, slots=True)
class Measured:
    """A plan, and whether the machine was quiet enough to believe it next time."""

    plan: Plan
    settled: bool


@dataclass(slots=True)
class _Candidate:
    session: GraphSession
    threads: int
    lanes: int
    rate: float = 0.0
    """Runs a second, the best of all tries."""
    share: float = 0.0
    """How much of a core each lane had, the best of all tries."""

    def run(self, feeds: Tensors, repeats: int) -> None:
        """One try: so many runs on every lane at once."""
        cpu_s: list[float] = []

        def work() -> None:
            began = time.thread_time()
            for _ in range(repeats):
                self.session.run(feeds)
            cpu_s.append(time.thread_time() - began)

        lanes = [threading.Thread(target=work) for _ in range(self.lanes)]
        began = time.perf_counter()
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        wall_s = time.perf_counter() - began
        self.rate = max(self.rate, repeats * self.lanes / wall_s)
        self.share = max(self.share, sum(cpu_s) / (wall_s * self.lanes))


@dataclass(slots=True)
class _Clock:
    """Time spent measuring, and the CPU time that was had in it."""

    deadline: float
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def time(self, work: Callable[[], object]) -> float:
        """CPU seconds that `work` took in this thread: what it would take if nobody else were there."""
        began, cpu = time.perf_counter(), time.thread_time()
        work()
        seconds = time.thread_time() - cpu
        self.wall_s += time.perf_counter() - began
        self.cpu_s += seconds
        return seconds

    @property
    def quiet(self) -> bool:
        """Whether this thread had a core for itself."""
        return self.cpu_s >= QUIET * self.wall_s

    def allows(self, seconds: float) -> bool:
        """Whether so much more fits in the budget."""
        return time.monotonic() + seconds < self.deadline


def is_quiet(session: GraphSession, *, cores: int) -> bool:
    """Whether so many runs of a graph get a core each now; a look of some milliseconds."""
    look = _Candidate(session, 1, min(cores, MOST_LANES))
    feeds = example_feeds(session.signature, 1)
    run_s = _Clock(math.inf).time(partial(session.run, feeds))
    look.run(feeds, _repeats(_LOOK_S, run_s))
    return look.share >= QUIET


def measure(
    session: GraphSession, open_session: Callable[[int], GraphSession], by_hand: ByHand, *, cores: int, budget_s: float
) -> Measured:
    """Choose a plan for the graph of `session`, open on `by_hand.plain_threads`, within about `budget_s` seconds.

    `open_session` opens the same graph on a number of threads.
    """
    clock = _Clock(time.monotonic() + budget_s)
    feeds = example_feeds(session.signature, by_hand.max_batch_rows or LARGEST_BATCH_ROWS)
    found, run_s = _choose_batch(session, feeds, clock)
    batch = by_hand.max_batch_rows or found
    choices = list(_candidates(by_hand, cores if run_s * LARGEST_BATCH_ROWS >= LANES_PAY_S * found else 1))
    quiet = clock.quiet or by_hand.plain_threads > 1 or cores == 1
    if len(choices) == 1 or not quiet:
        return Measured(Plan(*_as_a_rule(choices), batch), settled=quiet)
    candidates = [
        _Candidate(session if threads == by_hand.plain_threads else open_session(threads), threads, lanes)
        for threads, lanes in choices
    ]
    candidates = _trustworthy(candidates, session, feeds, batch)
    _try(candidates, rows(feeds, 0, batch), run_s, clock)
    if any(candidate.share < QUIET for candidate in candidates if candidate.threads == 1):
        return Measured(Plan(*_as_a_rule(choices), batch), settled=False)
    best = _fastest(candidates)
    return Measured(Plan(best.threads, best.lanes, batch), settled=True)


def example_feeds(signature: GraphSignature, count: int) -> Tensors:
    """So many rows of random inputs that fit a signature."""
    generator = np.random.default_rng(0)
    feeds = {}
    for spec in signature.inputs:
        shape = [count, *(size if isinstance(size, int) else SAMPLES_A_ROW for size in spec.shape[1:])]
        feeds[spec.name] = generator.random(shape, np.float32).astype(spec.dtype)
    return feeds


def _choose_batch(session: GraphSession, feeds: Tensors, clock: _Clock) -> tuple[int, float]:
    """The smallest batch that is nearly as fast as any, and the seconds that a run of it takes."""
    times: dict[int, float] = {}
    size, most = 1, len(next(iter(feeds.values())))
    while size <= most:
        part = rows(feeds, 0, size)
        session.run(part)  # the first run of a size makes room for it
        times[size] = min(_repeat(partial(session.run, part), clock))
        size *= 2
        if 2 * times[size // 2] > LONGEST_RUN_S or not clock.allows(4 * times[size // 2]):
            break
    rates = {size: size / (seconds + HANDOFF_S) for size, seconds in times.items()}
    chosen = min(size for size, rate in rates.items() if rate >= ENOUGH * max(rates.values()))
    return chosen, times[chosen]


def _repeat(work: Callable[[], object], clock: _Clock) -> list[float]:
    times: list[float] = []
    while len(times) < _TRIES and sum(times) < _TRY_S:
        times.append(clock.time(work))
    return times


def _candidates(by_hand: ByHand, cores: int) -> Iterator[tuple[int, int]]:
    """Threads and lanes that fill the cores, the plainest first."""
    plain = by_hand.plain_threads, by_hand.lanes or 1
    yield plain
    for threads in (by_hand.threads,) if by_hand.threads else _powers_of_two(cores):
        found = threads, by_hand.lanes or max(1, min(MOST_LANES, cores // threads))
        if found != plain:
            yield found


def _as_a_rule(choices: list[tuple[int, int]]) -> tuple[int, int]:
    """What suits most graphs whose runs are long: as many lanes as fit, each on the fewest threads."""
    return choices[min(1, len(choices) - 1)]


def _powers_of_two(most: int) -> Iterator[int]:
    number = 1
    while number <= most:
        yield number
        number *= 2


def _trustworthy(candidates: list[_Candidate], plain: GraphSession, feeds: Tensors, batch: int) -> list[_Candidate]:
    """The first, and those whose threads change no byte of an answer."""
    probes = [rows(feeds, 0, size) for size in {1, min(3, batch), batch}]
    answers = [_bytes(plain, probe) for probe in probes]
    return [
        candidate
        for candidate in candidates
        if candidate is candidates[0]
        or candidate.session is plain
        or [_bytes(candidate.session, probe) for probe in probes] == answers
    ]


def _bytes(session: GraphSession, feeds: Tensors) -> list[bytes]:
    return [array.tobytes() for array in session.run(feeds).values()]


def _try(candidates: list[_Candidate], feeds: Tensors, run_s: float, clock: _Clock) -> None:
    """Run all of them, in turns, so that a disturbance meets everyone."""
    repeats = _repeats(_TRY_S, run_s)
    for _ in range(_TRIES):
        for candidate in candidates:
            if clock.allows(repeats * run_s):
                candidate.run(feeds, repeats)


def _repeats(seconds: float, run_s: float) -> int:
    return max(1, round(seconds / run_s))


def _fastest(candidates: list[_Candidate]) -> _Candidate:
    """The first, unless another is clearly faster."""
    best = candidates[0]
    for candidate in candidates[1:]:
        if candidate.rate > (GAIN if best is candidates[0] else 1) * best.rate:
            best = candidate
    return best
