from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.harness import idle
from benchmarks.harness.idle import wait_until_idle


def told(*shares: float) -> Iterator[tuple[int, int]]:
    """What is read of a machine whose cores are idle for these shares of the time, and then for ever for the last."""
    idle_ticks = ticks = 0
    yield 0, 0
    while True:
        share, *rest = shares
        shares = tuple(rest) or (share,)
        idle_ticks, ticks = idle_ticks + round(100 * share), ticks + 100
        yield idle_ticks, ticks


def test_waiting_ends_with_the_first_idle_moment() -> None:
    readings = told(0.1, 0.5, 0.95, 0.0)
    assert wait_until_idle(lambda: next(readings), look_s=0)
    assert next(readings)[1] == 400  # three moments were looked at


def test_machine_that_is_never_idle_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "PATIENCE_S", 0.01)
    readings = told(0.2)
    assert not wait_until_idle(lambda: next(readings), look_s=0.001)


def test_where_nobody_can_tell_nothing_is_waited_for() -> None:
    assert wait_until_idle(lambda: None, look_s=60)
