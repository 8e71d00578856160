"""Many requests, few graph runs: a queue with a budget in rows in front of one graph.

While the graph is busy, requests wait; when it is free, whatever waits goes in one run, up to a limit. No timer delays
anybody. A request larger than the limit goes in pieces, and the pieces of different requests take turns. The graph runs
on a thread of its own; everything else happens on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from app.errors import DeadlineExceeded, Overloaded, ShuttingDown
from app.runtime.batch import Array, Outcome, Run, Tensors, gather, kind, row_count, rows, run_rows
from app.runtime.statistics import GraphStatistics
from app.telemetry import Metrics

_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """A request's outputs, and how long it waited and ran."""

    outputs: dict[str, Array]
    queue_s: float
    run_s: float


@dataclass(eq=False, slots=True)
class _Job:
    """One request on its way: rows `taken` of `size` were handed to the graph, `outcomes` came back."""

    feeds: Tensors
    size: int
    kind: object
    deadline: float | None
    answer: asyncio.Future[Answer]
    admitted_s: float
    started_s: float = 0.0
    taken: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def waiting_rows(self) -> int:
        return self.size - self.taken

    def abandoned(self, now: float) -> bool:
        """Nobody waits for the answer: it was given, the client left, or the deadline passed."""
        return self.answer.done() or (self.deadline is not None and now >= self.deadline)

    def take(self, limit: int, now: float) -> Tensors:
        """Its next rows, at most `limit`."""
        if self.taken == 0:
            self.started_s = now
        start, self.taken = self.taken, min(self.taken + limit, self.size)
        return rows(self.feeds, start, self.taken)

    def receive(self, outcomes: list[Outcome], now: float) -> None:
        """Outcomes of the rows taken last. Resolves the answer with the last row, or with the first that failed."""
        self.outcomes += outcomes
        failed = any(isinstance(outcome, Exception) for outcome in outcomes)
        if self.answer.done() or not (failed or len(self.outcomes) == self.size):
            return
        try:
            outputs = gather(self.outcomes)
        except Exception as error:  # a row's own error, carried here from the batch boundary
            self.answer.set_exception(error)
        else:
            self.answer.set_result(Answer(outputs, self.started_s - self.admitted_s, now - self.started_s))


class Batcher:
    """Runs `run` on the stacked rows of what is submitted.

    `max_batch_rows` bounds one run, `queue_rows` what may wait for one. Requests are stacked with those whose arrays
    have the same shapes but for the rows.
    """

    def __init__(
        self, run: Run, *, max_batch_rows: int, queue_rows: int, name: str, metrics: Metrics | None = None
    ) -> None:
        self._run = run
        self._max_batch_rows = max_batch_rows
        self._queue_rows = queue_rows
        self._name = name
        self._metrics = metrics or Metrics()
        self._queue: deque[_Job] = deque()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self.statistics = GraphStatistics()

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a run now."""
        return sum(job.waiting_rows for job in self._queue)

    async def submit(self, feeds: Tensors, *, deadline: float | None = None) -> Answer:
        """The graph's answer to these rows; `deadline` is a `time.monotonic()` moment.

        Raises ShuttingDown after `close`, Overloaded when the queue has no room, DeadlineExceeded when the answer is
        not there in time, and what the graph raised for one of these rows. Cancelling the caller
        frees its rows at once.
        """
        began, answer = time.monotonic(), None
        self.statistics.began()
        try:
            answer = await self._answer(feeds, deadline)
        finally:
            if answer is None:
                self.statistics.failed(time.monotonic() - began)
        self.statistics.succeeded(row_count(feeds), queue_s=answer.queue_s, run_s=answer.run_s)
        return answer

    async def drain(self) -> None:
        """Wait until nothing waits and nothing runs."""
        if self._worker is not None:
            await asyncio.wait([self._worker])

    async def close(self) -> None:
        """Take nothing new, finish what waits, stop the thread."""
        self._closing = True
        await self.drain()
        self._executor.shutdown(wait=False)

    async def _answer(self, feeds: Tensors, deadline: float | None) -> Answer:
        job = self._admit(feeds, deadline)
        self._wake()
        timeout = asyncio.timeout(None if deadline is None else deadline - time.monotonic())
        try:
            async with timeout:
                return await job.answer
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise DeadlineExceeded("the deadline passed before the model answered") from error
        finally:
            self._withdraw(job)

    def _admit(self, feeds: Tensors, deadline: float | None) -> _Job:
        if self._closing:
            raise ShuttingDown("the model is being closed")
        size, now = row_count(feeds), time.monotonic()
        if deadline is not None and now >= deadline:
            raise DeadlineExceeded("the deadline had passed before the model was asked")
        if self.waiting_rows + size > self._queue_rows:
            detail = f"{size} more rows do not fit in the queue: {self.waiting_rows} of {self._queue_rows} are waiting"
            raise Overloaded(detail, retry_after_s=_RETRY_AFTER_S)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = _Job(feeds, size, kind(feeds), deadline, answer, admitted_s=now)
        self._queue.append(job)
        self._report_queue()
        return job

    def _withdraw(self, job: _Job) -> None:
        """Its rows stop counting the moment that nobody waits for them."""
        if job in self._queue:
            self._queue.remove(job)
            self._report_queue()

    def _wake(self) -> None:
        """The worker lives while there is work: one that ended, however, is replaced by the next request."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name=f"{self._name} batches")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while pieces := self._next_batch():
            batches = [piece for _, piece in pieces]
            began = time.monotonic()
            outcomes: list[Outcome] = [ShuttingDown("the model was stopped")] * sum(map(row_count, batches))
            try:
                outcomes = await loop.run_in_executor(self._executor, run_rows, self._run, batches)
            finally:  # also where this task is cancelled: nobody is left without an answer
                _deliver(pieces, outcomes)
            seconds = time.monotonic() - began
            self._metrics.observe_run(self._name, rows=len(outcomes), seconds=seconds)
            self.statistics.ran(len(outcomes), seconds)

    def _next_batch(self) -> list[tuple[_Job, Tensors]]:
        """The next rows to run: from the front of the queue on, of the front's kind. Who has more rows queues again."""
        now, room = time.monotonic(), self._max_batch_rows
        self._queue = deque(job for job in self._queue if not job.abandoned(now))
        waiting = list(self._queue)
        pieces: list[tuple[_Job, Tensors]] = []
        for job in waiting:
            if room == 0 or job.kind != waiting[0].kind:
                continue
            piece = job.take(room, now)
            room -= row_count(piece)
            pieces.append((job, piece))
            self._queue.remove(job)
            if job.waiting_rows:
                self._queue.append(job)
        self._report_queue()
        return pieces

    def _report_queue(self) -> None:
        self._metrics.set_queue_rows(self._name, self.waiting_rows)


def _deliver(pieces: list[tuple[_Job, Tensors]], outcomes: list[Outcome]) -> None:
    now, start = time.monotonic(), 0
    for job, piece in pieces:
        stop = start + row_count(piece)
        job.receive(outcomes[start:stop], now)
        start = stop
