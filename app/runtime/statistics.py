"""What one graph has done since it was loaded, in the terms of the Open Inference Protocol's statistics extension."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """How often something happened, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class GraphStatistics:
    """Requests, rows and runs of one graph. Only the event loop writes it."""

    success: Tally = field(default_factory=Tally)
    """Requests that were answered, from their admission on."""
    failure: Tally = field(default_factory=Tally)
    """Requests that were refused, failed, overdue or abandoned."""
    queue: Tally = field(default_factory=Tally)
    """Answered requests, waiting for their first row's run."""
    run: Tally = field(default_factory=Tally)
    """Answered requests, from then on."""
    batches: dict[int, Tally] = field(default_factory=dict)
    """Graph runs by their number of rows."""
    rows: int = 0
    """Rows of answered requests."""
    last_request_s: float | None = None
    """When the last request came, in seconds since 1970."""

    def began(self) -> None:
        """A request came."""
        self.last_request_s = time.time()

    def succeeded(self, rows: int, *, queue_s: float, run_s: float) -> None:
        """A request was answered."""
        self.rows += rows
        self.success.add(queue_s + run_s)
        self.queue.add(queue_s)
        self.run.add(run_s)

    def failed(self, seconds: float) -> None:
        """A request had no answer after this long."""
        self.failure.add(seconds)

    def ran(self, rows: int, seconds: float) -> None:
        """The graph ran once."""
        self.batches.setdefault(rows, Tally()).add(seconds)
