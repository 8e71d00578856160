"""How each graph is run: set by hand, known from before, or measured when its model is loaded.

What a measurement found is kept in a small file, so that only a graph, a runtime or a machine that was not met before
costs time. The file is a convenience: without a place to write, everything is measured at every start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Literal

from app.runtime.evidence import SAMPLES_A_ROW
from app.runtime.machine import cpu_model, usable_cores
from app.runtime.session import RUNTIME, GraphSession
from app.runtime.tuning import ByHand, Measured, Plan, is_quiet, measure

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

Auto = Literal["auto"]

CACHE_FILE = "graph_plans.json"
MOST_PLANS = 1000
"""Kept; the oldest go first."""
UNSETTLED_HOLDS_S = 3600.0
"""What was found on a busy machine is good enough for so long: who starts again at once need not wait again."""


class Planner:
    """Decides how graphs run, for one process that may use `cores` cores."""

    def __init__(self, by_hand: ByHand, *, cores: int, cache_dir: Path | None) -> None:
        self._by_hand = by_hand
        self._cores = cores
        self._cache = PlanCache(cache_dir)
        self._circumstances = (RUNTIME, cpu_model(), cores, SAMPLES_A_ROW, *astuple(by_hand))

    @property
    def plain_threads(self) -> int:
        """Threads to open a graph on whose plan is not known."""
        return self._by_hand.plain_threads

    def known(self, sha256: str) -> Plan | None:
        """The plan for a graph, where it needs no measuring."""
        kept = self._cache.get(self._key(sha256))
        return self._by_hand.as_plan() or (kept.plan if kept and kept.settled else None)

    def measured(self, session: GraphSession, open_session: Callable[[int], GraphSession], budget_s: float) -> Plan:
        """The plan for a graph that is open on `plain_threads`; `open_session` opens it on so many.

        Of several processes that start together one measures and the others read what it found: side by side they would
        only measure each other. What was found while the machine was busy is used for an hour, and then until the
        machine is found quiet.
        """
        key, began = self._key(session.signature.sha256), time.monotonic()
        with self._cache.alone():
            kept = self._cache.get(key)
            if kept and kept.settled:
                return kept.plan
            if kept and not is_quiet(session, cores=self._cores):
                self._cache.put(key, kept)  # holds for another hour: a start need not look at each graph again
                return kept.plan
            found = measure(session, open_session, self._by_hand, cores=self._cores, budget_s=budget_s)
            self._cache.put(key, found)
        fields = {"plan": str(found.plan), "seconds": round(time.monotonic() - began, 2), "settled": found.settled}
        logger.info("graph %s was measured", session.signature.sha256[:12], extra={"fields": fields})
        return found.plan

    def _key(self, sha256: str) -> str:
        return hashlib.sha256(json.dumps([sha256, *self._circumstances]).encode()).hexdigest()


def planner_for(
    *,
    graph_threads: int | Auto,
    graph_lanes: int | Auto,
    max_batch_rows: int | Auto,
    workers: int,
    cache_dir: Path | None,
) -> Planner:
    """The planner of one of `workers` processes; `auto` is left to measuring, no folder is the user's."""
    threads, lanes, rows = (None if by == "auto" else by for by in (graph_threads, graph_lanes, max_batch_rows))
    cores = max(1, usable_cores() // workers)
    return Planner(ByHand(threads, lanes, rows), cores=cores, cache_dir=cache_dir or default_cache_dir())


class PlanCache:
    """What was measured, by key, in one JSON file of a folder. No folder, or one that is of no use, holds nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: tuple[os.stat_result, dict[str, Any]] | None = None

    def get(self, key: str) -> Measured | None:
        """What is kept under `key`, unless that is nothing or makes no sense; what is young counts as settled."""
        try:
            kept = self._read()[key]
            young = time.time() - kept["measured_at"] < UNSETTLED_HOLDS_S
            return Measured(Plan(**kept["plan"]), settled=young or kept["settled"] is True)
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, key: str, found: Measured) -> None:
        """Keep it, if that can be done."""
        if self._folder is None:
            return
        plans = {name: kept for name, kept in self._read().items() if name != key} | {
            key: asdict(found) | {"measured_at": time.time()}
        }
        newest = dict(list(plans.items())[-MOST_PLANS:])
        with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as draft:
            draft.write(json.dumps(newest, indent=1))
            draft.close()
            Path(draft.name).replace(self._folder / CACHE_FILE)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process that uses this folder is in here at the same time, where the system can see to that."""
        lock = self._lock()
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _lock(self) -> int | None:
        if self._folder is None:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if sys.platform == "win32":
                return None
            lock = os.open(self._folder / f"{CACHE_FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            logger.info("what is measured of graphs is not kept: %s", error.strerror)
            self._folder = None
            return None
        return lock

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._folder is None:
            return {}
        path = self._folder / CACHE_FILE
        try:
            state = path.stat()
            if self._seen is None or not _same_file(self._seen[0], state):
                self._seen = state, json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        plans = self._seen[1]
        return plans if isinstance(plans, dict) else {}


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """A draft that replaced the file is another one, whatever its time says."""
    return (one.st_ino, one.st_mtime_ns, one.st_size) == (other.st_ino, other.st_mtime_ns, other.st_size)


def default_cache_dir() -> Path:
    """The user's cache folder; for a user without a home, one under the folder for temporary files."""
    with suppress(RuntimeError):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if home.is_absolute() and os.access(_existing(home), os.W_OK):
            return home / "latentserve"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"latentserve-{user}"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
