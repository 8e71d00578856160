"""Several worker processes, one set of numbers: each writes its own files, and any of them reads all.

The files are `prometheus_client`'s (its multiprocess mode), but they are named by a worker's slot, not by its process
id: a worker that replaces a dead one takes over its slot, opens the same files and counts on from there. So counters
never fall, and however often workers are replaced there are no more files than workers. A slot is held by a lock that
the kernel lets go of when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from prometheus_client import ProcessCollector, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where `prometheus_client` wants to be told the folder; workers inherit it from their supervisor."""

MEMORY = Path("/dev/shm")  # noqa: S108  a folder of random name is made there
"""Linux's file system in memory."""

_PREFIX, _HELD = "latentserve-", "supervisor"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """In the supervisor: a folder for the numbers of the workers that are started within the block."""
    # Numbers that change all the time need no disk.
    place = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(place)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True) as folder:
        descriptor = _hold(Path(folder))
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(FOLDER_VARIABLE, None)
            os.close(descriptor)


def _hold(folder: Path) -> int:
    """Show, for as long as the returned descriptor is open, that this folder has a supervisor."""
    descriptor = os.open(folder / f".{_HELD}", os.O_RDWR | os.O_CREAT, 0o600)
    _lock(descriptor, fcntl.LOCK_EX)
    (folder / f".{_HELD}").rename(folder / _HELD)  # under this name it has been locked from the first
    return descriptor


def _sweep(place: Path) -> None:
    """Remove the folders of supervisors that had no time to."""
    for held in place.glob(f"{_PREFIX}*/{_HELD}"):
        with suppress(OSError):  # another user's, or another supervisor swept it
            if not _is_held(held):
                shutil.rmtree(held.parent)


class Place(NamedTuple):
    """A worker's place among the others: the folder where they meet, and its slot."""

    folder: Path
    slot: int


def take_place() -> Place:
    """In a worker: its place in the supervisor's folder, until its process ends."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    return Place(folder, take_slot(folder))


def join_workers(place: Place) -> WorkersCollector:
    """In a worker, before it makes its metrics: write them into the supervisor's folder; what reads everybody's."""
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: place.slot)
    return WorkersCollector(place.folder)


def take_slot(folder: Path) -> int:
    """The lowest slot that no living process holds; this process holds it to its end."""
    for slot in itertools.count():
        # Stays open: closing it would let go of the slot.
        descriptor = os.open(folder / f"{slot}.worker", os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            continue
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        for left in folder.glob(f"gauge_*_{slot}.db"):  # a dead worker's rows wait no longer
            left.unlink()
        return slot
    raise AssertionError("there is always another number")


def living_workers(folder: Path) -> list[int]:
    """The process ids of the workers that hold a slot."""
    held = [path.read_text() for path in sorted(folder.glob("*.worker")) if _is_held(path)]
    return [int(pid) for pid in held if pid]  # empty for the moment between taking a slot and signing it


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class WorkersCollector(Collector):
    """The numbers of all workers, living and dead, added up; and those of each living process, by its `pid`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read everything anew."""
        # A file that was opened this very moment is empty, and not yet one of prometheus_client's.
        files = [str(path) for path in self._folder.glob("*.db") if _size(path)]
        yield from MultiProcessCollector.merge(files)
        yield from self._processes()

    def _processes(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in living_workers(self._folder):
            for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "pid": str(pid)}, sample.value)
        return families.values()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
