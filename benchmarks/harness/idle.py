"""Waiting until the machine has nothing else to do: what one server leaves behind must not slow the next one down."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
IDLE_SHARE = 0.9
LOOK_S = 0.5
PATIENCE_S = 30.0

Ticks = tuple[int, int]
"""Of all cores since the machine started: idle or waiting for a disk, and all."""


def wait_until_idle(read: Callable[[], Ticks | None] | None = None, *, look_s: float = LOOK_S) -> bool:
    """Return once the cores were idle for a moment: True. False after half a minute; without /proc nobody can tell."""
    read = read or _ticks
    give_up_at = time.monotonic() + PATIENCE_S
    before = read()
    while before is not None and time.monotonic() < give_up_at:
        time.sleep(look_s)
        after = read()
        if after is None or after[0] - before[0] >= IDLE_SHARE * (after[1] - before[1]):
            return True
        before = after
    return before is None


def _ticks() -> Ticks | None:
    try:
        numbers = [int(number) for number in STAT.read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return None
    idle, waiting = numbers[3:5]
    return idle + waiting, sum(numbers)
