"""A server as a process: start it, wait until it answers, read what it holds, stop it and all that it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.idle import wait_until_idle

START_TIMEOUT_S = 90.0
"""Ray Serve needs fifteen seconds on two cores; six times that is broken."""
STOP_TIMEOUT_S = 20.0
_LISTENING = "0A"
"""As /proc/net/tcp says it."""
LOG_TAIL = 600
"""Characters of a failed server's log that its error quotes."""


class DidNotStart(Exception):
    """The server ended, or did not answer in time."""


@dataclass(frozen=True)
class Server:
    """A running server: its root process and where it answers."""

    process: subprocess.Popen[bytes]
    url: str
    ready_s: float
    """From the start of the process to the first good answer."""

    @property
    def pids(self) -> list[int]:
        """The root and every living descendant."""
        return _descendants(self.process.pid)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], *, port: int, ready: str, environment: Mapping[str, str], log: Path
) -> Iterator[Server]:
    """Run `command` until the block ends, once the machine is idle; the block begins when `ready` (a path) answers 200.

    Raises DidNotStart.
    """
    wait_until_idle()
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,  # an interrupt from the keyboard is ours to pass on
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url + ready, started, log)
        yield Server(process, url, time.perf_counter() - started)
    finally:
        _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, started: float, log: Path) -> None:
    while not _answers(url):
        if process.poll() is not None or time.perf_counter() - started > START_TIMEOUT_S:
            text = log.read_text(errors="replace").strip()[-LOG_TAIL:]
            raise DidNotStart(text or f"exit status {process.returncode} without a word")
        time.sleep(0.005)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own loopback address
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Some servers leave workers behind, in sessions of their own. Handles rather than numbers: a number may by then be
    # another process's.
    handles = [handle for pid in _descendants(process.pid)[1:] if (handle := _handle(pid)) is not None]
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    process.kill()
    process.wait()


def _handle(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.pidfd_open(pid)
    return None


def _descendants(root: int) -> list[int]:
    found = [root]
    for pid in found:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def resident_mb(pids: Sequence[int]) -> float:
    """Resident memory of these processes in MB, pages that they share counted in full for each."""
    return sum(_status(pid, "VmRSS") for pid in pids) / 1000


def thread_count(pids: Sequence[int]) -> int:
    """Threads of these processes."""
    return sum(_status(pid, "Threads") for pid in pids)


def descriptor_count(pids: Sequence[int]) -> int:
    """Open file descriptors of these processes."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def listeners(port: int) -> int:
    """Sockets that listen on a port of this machine, of all processes."""
    states = (line.split()[1:4:2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(address.endswith(f":{port:04X}") and state == _LISTENING for address, state in states)


def is_spawned(pid: int) -> bool:
    """Whether a process was begun by `multiprocessing`, as workers are."""
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)
