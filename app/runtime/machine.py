"""The machine this process runs on: its CPU, its cores and who goes first on them, and its memory to give back."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path


def usable_cores(system: Path = Path("/")) -> int:
    """Cores that this process may keep busy: those it may run on, or fewer where a control group's quota says so.

    Half a core counts as one: there has to be one. `system` is the root that /proc and /sys are read under.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _quotas(system))]))


def cpu_model(system: Path = Path("/")) -> str:
    """The CPU's name, as precisely as the system tells."""
    for line in _read(system / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def release_memory() -> None:
    """Give freed memory back to the system where the C library keeps it otherwise (glibc does)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def interrupt_nobody() -> None:
    """Tell the scheduler that this thread computes: when it has work again, it waits for who runs to pause (Linux).

    Otherwise a graph that has its next rows cuts the event loop short in the middle of handing out the answers to its
    last ones, and the last clients of a batch wait for the whole of the next (sched(7), SCHED_BATCH).
    """
    ordinary = getattr(os, "SCHED_OTHER", None)
    if ordinary is not None and os.sched_getscheduler(0) == ordinary:  # an operator's choice of another stays
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _quotas(system: Path) -> Iterator[float]:
    """Cores' worth of time that each control group around this process allows (version 2; then version 1)."""
    root = system / "sys/fs/cgroup"
    for line in _read(system / "proc/self/cgroup").splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            own = root / path.strip("/")
            for group in (own, *own.parents):
                if group.is_relative_to(root):
                    yield from _quota(*_read(group / "cpu.max").split())
    yield from _quota(*(_read(root / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")))


def _quota(*words: str) -> Iterator[float]:
    """None for words that are not two numbers: no file, `max`, −1."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
