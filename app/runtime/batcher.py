"""Many requests, few graph runs: a queue with a budget in rows in front of one graph.

While the graph is busy, requests wait; when it is free, whatever waits goes in one run, up to a limit. No timer delays
anybody. A request larger than the limit goes in pieces, and the pieces of different requests take turns. A run that
nobody waits for any more is ended. The graph runs on threads of its own, `lanes` runs at a time. A thread that has
finished a run takes the next rows itself: where it asked the event loop for them, the graph would stand idle until the
loop, busy with other requests, came to it. The queue therefore has a lock; answers are given on the event loop alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import NamedTuple

from app.errors import DeadlineExceeded, Overloaded, ShuttingDown
from app.runtime.batch import RETRY_AFTER_S, Array, Outcome, Run, Tensors, kind, row_count, rows, run_together, stack
from app.runtime.machine import interrupt_nobody
from app.runtime.session import Interruption
from app.runtime.statistics import GraphStatistics
from app.telemetry import Metrics
from app.tracing import is_traced, record_stage

logger = logging.getLogger(__name__)

_CROWD_BATCHES = 2
"""Full batches that must wait for another lane to be worth a core."""


class Answer(NamedTuple):
    """A request's outputs, of how many rows, and how long it waited and ran."""

    outputs: Tensors
    rows: int
    queue_s: float
    run_s: float


@dataclass(eq=False, slots=True)
class _Job:
    """One request on its way: rows `taken` of `size` were handed to the graph, `parts` came back."""

    feeds: Tensors
    size: int
    kind: object
    deadline: float | None
    answer: asyncio.Future[Answer]
    admitted_s: float
    started_s: float = 0.0
    taken: int = 0
    failed: bool = False
    parts: dict[int, dict[str, Array]] = field(default_factory=dict)

    @property
    def waiting_rows(self) -> int:
        return self.size - self.taken

    def abandoned(self, now: float) -> bool:
        """Nobody waits for more: the answer was given or is a failure, the client left, or the deadline passed."""
        return self.failed or self.answer.done() or (self.deadline is not None and now >= self.deadline)

    def expire(self) -> None:
        """The deadline passed."""
        if not self.answer.done():
            self.answer.set_exception(DeadlineExceeded("the deadline passed before the model answered"))

    def take(self, limit: int, now: float) -> _Piece:
        """Its next rows, at most `limit`."""
        if self.taken == 0:
            self.started_s = now
        start, self.taken = self.taken, min(self.taken + limit, self.size)
        whole = start == 0 and self.taken == self.size
        return _Piece(self, start, self.taken - start, self.feeds if whole else rows(self.feeds, start, self.taken))

    def receive(self, piece: _Piece, outcome: Outcome, now: float) -> None:
        """The outcome of one piece. Resolves the answer with the last, or with the first that failed."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            return
        if piece.count == self.size:
            self._answer(outcome, now)
            return
        self.parts[piece.start] = outcome
        if sum(row_count(part) for part in self.parts.values()) == self.size:
            self._answer(stack([self.parts[start] for start in sorted(self.parts)]), now)

    def _answer(self, outputs: Tensors, now: float) -> None:
        self.answer.set_result(Answer(outputs, self.size, self.started_s - self.admitted_s, now - self.started_s))


@dataclass(eq=False, slots=True)
class _Piece:
    """Rows of one request that run together, from its row `start` on."""

    job: _Job
    start: int
    count: int
    feeds: Tensors


@dataclass(eq=False, slots=True)
class _Batch:
    """Pieces that run together now."""

    pieces: list[_Piece]
    interruption: Interruption = field(default_factory=Interruption)

    def end_if_unwanted(self) -> None:
        """Where nobody waits for any of its answers, the rest of the run is wasted."""
        if all(piece.job.answer.done() for piece in self.pieces):
            self.interruption.request()


class _Deadlines:
    """Ends jobs at their deadlines, with one timer for all of them: most are far away when the answer comes."""

    def __init__(self) -> None:
        self._jobs: dict[_Job, float] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, job: _Job, deadline: float) -> None:
        """End `job` at `deadline`, a `time.monotonic()` moment."""
        self._jobs[job] = deadline
        if deadline < self._next:
            self._ring_at(deadline)

    def discard(self, job: _Job) -> None:
        """It needs no ending any more."""
        self._jobs.pop(job, None)

    def _ring_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = moment
        self._timer = asyncio.get_running_loop().call_later(moment - time.monotonic(), self._ring)

    def _ring(self) -> None:
        now, self._next, self._timer = time.monotonic(), math.inf, None
        for job in [job for job, deadline in self._jobs.items() if deadline <= now]:
            del self._jobs[job]
            job.expire()
        if self._jobs:
            self._ring_at(min(self._jobs.values()))


class Batcher:
    """Runs `run` on the stacked rows of what is submitted.

    `max_batch_rows` bounds one run, `queue_rows` what may wait for one, `lanes` how many runs go on at a time. Requests
    are stacked with those whose arrays have the same shapes but for the rows.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch_rows: int,
        queue_rows: int,
        name: str,
        lanes: int = 1,
        metrics: Metrics | None = None,
    ) -> None:
        self._run = run
        self._max_batch_rows = max_batch_rows
        self._queue_rows = queue_rows
        self._name = name
        self._meter = (metrics or Metrics()).graph_meter(name)
        self._queue: deque[_Job] = deque()
        self._running: set[_Batch] = set()
        self._executor = ThreadPoolExecutor(max_workers=lanes, thread_name_prefix=name, initializer=interrupt_nobody)
        self._lanes = self._idle_lanes = lanes
        self._lock = Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._deadlines = _Deadlines()
        self._closing = False
        self._waiting_rows = 0
        self.statistics = GraphStatistics()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """That of the first request; to ask anew each time is a system call (CPython before 3.12)."""
        return asyncio.get_running_loop()

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a run now."""
        return self._waiting_rows

    async def submit(self, feeds: Tensors, *, deadline: float | None = None) -> Answer:
        """The graph's answer to these rows; `deadline` is a `time.monotonic()` moment.

        Raises ShuttingDown after `close`, Overloaded when the queue has no room, DeadlineExceeded when the answer is
        not there in time, and what the graph raised for one of these rows. Cancelling the caller
        frees its rows at once.
        """
        began, answer = time.monotonic(), None
        self.statistics.began()
        try:
            answer = await self._answer(feeds, deadline, began)
        finally:
            if answer is None:
                self.statistics.failed(time.monotonic() - began)
        self.statistics.succeeded(answer.rows, queue_s=answer.queue_s, run_s=answer.run_s)
        if is_traced():
            self._trace(answer, began)
        return answer

    async def drain(self) -> None:
        """Wait until nothing waits and nothing runs."""
        await self._idle.wait()

    async def close(self) -> None:
        """Take nothing new, finish what waits, stop the threads."""
        self._closing = True
        await self.drain()
        self._executor.shutdown(wait=False)

    async def _answer(self, feeds: Tensors, deadline: float | None, now: float) -> Answer:
        job = self._admit(feeds, deadline, self._loop.create_future(), now)
        if deadline is not None:
            self._deadlines.add(job, deadline)
        try:
            return await job.answer
        except BaseException:
            self._withdraw(job)
            raise
        finally:
            if deadline is not None:
                self._deadlines.discard(job)

    def _trace(self, answer: Answer, began: float) -> None:
        taken = began + answer.queue_s
        known: dict[str, str | int] = {"latentserve.graph": self._name, "latentserve.rows": answer.rows}
        record_stage("queue", began, taken, known)
        record_stage("run", taken, taken + answer.run_s, known)

    def _admit(self, feeds: Tensors, deadline: float | None, answer: asyncio.Future[Answer], now: float) -> _Job:
        if self._closing:
            raise ShuttingDown("the model is being closed")
        size = row_count(feeds)
        if deadline is not None and now >= deadline:
            raise DeadlineExceeded("the deadline had passed before the model was asked")
        if self._waiting_rows + size > self._queue_rows:
            detail = f"{size} more rows do not fit in the queue: {self._waiting_rows} of {self._queue_rows} are waiting"
            raise Overloaded(detail, retry_after_s=RETRY_AFTER_S)
        job = _Job(feeds, size, kind(feeds), deadline, answer, admitted_s=now)
        with self._lock:
            self._queue.append(job)
            self._count_waiting(size)
            self._wake()
            self._idle.clear()
        return job

    def _withdraw(self, job: _Job) -> None:
        """Its rows stop counting the moment that nobody waits for them; the queue forgets it when it comes to it."""
        with self._lock:
            self._count_waiting(-job.waiting_rows)
            job.taken = job.size
            for batch in self._running:
                batch.end_if_unwanted()

    def _wake(self) -> None:
        """An idle lane sets to work where there is some; it goes on by itself until nothing waits.

        Beside a busy lane another is woken for a crowd or for a large request alone: its run takes a core that the
        event loop would answer single requests on.
        """
        if self._idle_lanes and (self._idle_lanes == self._lanes or self._is_crowded()):
            self._idle_lanes -= 1
            self._executor.submit(self._work)

    def _is_crowded(self) -> bool:
        large = bool(self._queue) and self._queue[0].size > self._max_batch_rows
        return large or self._waiting_rows >= _CROWD_BATCHES * self._max_batch_rows

    def _work(self) -> None:
        """A lane, in its thread: run after run until nothing waits."""
        while (batch := self._begin()) is not None:
            began = time.monotonic()
            outcomes = self._outcomes(batch)
            for piece, outcome in zip(batch.pieces, outcomes, strict=True):
                piece.job.failed |= isinstance(outcome, Exception)
            self._tell(self._end, batch, outcomes, time.monotonic() - began)
        self._tell(self._settle)

    def _outcomes(self, batch: _Batch) -> list[Outcome]:
        try:
            return run_together(self._run, [piece.feeds for piece in batch.pieces], batch.interruption)
        except BaseException:  # nobody watches this thread, and those who wait need an answer
            logger.exception("the graph's thread was to end: %s", self._name)
            return [ShuttingDown("the model was stopped")] * len(batch.pieces)

    def _begin(self) -> _Batch | None:
        """The next batch, or None where the lane is idle from now on."""
        with self._lock:
            if pieces := self._next_batch():
                batch = _Batch(pieces)
                self._running.add(batch)
                if self._waiting_rows:
                    self._wake()
                return batch
            self._idle_lanes += 1
            return None

    def _tell(self, what: Callable[..., None], *about: object) -> None:
        with suppress(RuntimeError):  # the loop was closed before the run ended: nobody waits any more
            self._loop.call_soon_threadsafe(what, *about)

    def _end(self, batch: _Batch, outcomes: list[Outcome], seconds: float) -> None:
        """Hand the outcomes of a batch to who waits for them."""
        with self._lock:
            self._running.discard(batch)
        now = time.monotonic()
        for piece, outcome in zip(batch.pieces, outcomes, strict=True):
            piece.job.receive(piece, outcome, now)
        count = sum(piece.count for piece in batch.pieces)
        self._meter.observe_run(rows=count, seconds=seconds)
        self.statistics.ran(count, seconds)

    def _settle(self) -> None:
        """Where all lanes are idle, say so to who waits for that."""
        if self._idle_lanes == self._lanes:
            self._idle.set()

    def _next_batch(self) -> list[_Piece]:
        """The next rows to run: from the front of the queue on, of the front's kind. Who has more rows queues again."""
        now, room = time.monotonic(), self._max_batch_rows
        pieces: list[_Piece] = []
        others: list[_Job] = []
        unfinished: list[_Job] = []
        while self._queue and room:
            job = self._queue.popleft()
            if not job.waiting_rows or job.abandoned(now):
                continue
            if pieces and job.kind != pieces[0].job.kind:
                others.append(job)
                continue
            pieces.append(job.take(room, now))
            room -= pieces[-1].count
            if job.waiting_rows:
                unfinished.append(job)
        self._queue.extendleft(reversed(others))
        self._queue.extend(unfinished)
        self._count_waiting(-sum(piece.count for piece in pieces))
        return pieces

    def _count_waiting(self, change: int) -> None:
        if change:
            self._waiting_rows += change
            self._meter.set_queue_rows(self._waiting_rows)
