"""Workers with evenly many connections: who accepts one while a sibling has fewer hands it over, unread.

The system deals connections out by a hash. Of 64 clients on two workers one often gets 40, and for as long as they stay
they wait for a busier process than the other 24.

A connection travels as a file descriptor over a Unix socket (SCM_RIGHTS). Who hands it over keeps a duplicate until the
sibling says that it has taken it: a sibling that cannot, or ends before, costs the client nothing. Not a byte has been
read until then, so no request is lost and none is answered twice.

How many connections each has stands in memory that all workers map. Every number there has one writer, so nobody waits
for a lock, and a connection counts as its receiver's from the moment that it is handed over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import mmap
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from app.protocol import Protocol

_TAKEN, _REFUSED = b"+", b"-"

logger = logging.getLogger(__name__)


class Board:
    """How many connections each of several workers has, as all of them see it."""

    def __init__(self, path: Path, seats: int, slot: int) -> None:
        """Worker `slot` of at most `seats` begins with no connection, whatever one before it had."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size := seats * (seats + 2) * 8)
            cells = memoryview(mmap.mmap(descriptor, size)).cast("q")
        finally:
            os.close(descriptor)
        self.slot = slot
        self._open = cells[:seats]
        # A row for each worker: its connections, less those of them that were handed over to it; then, by giver, all
        # that ever were. (Plain numbers: for so few of them numpy costs more than it saves.)
        self._rows = [cells[start : start + seats + 1] for start in range(seats, len(cells), seats + 1)]
        self._arrived = sum(self._rows[slot][1:])
        self.set(0)

    def open(self, *, welcome: bool) -> None:
        """Say whether siblings may hand over to this worker."""
        self._open[self.slot] = welcome

    def set(self, connections: int, *, arrived: int = 0) -> None:
        """This worker has so many connections; so many of what was handed over to it are now among them, or lost."""
        self._arrived += arrived
        self._rows[self.slot][0] = connections - self._arrived

    def give(self, slot: int, connections: int = 1) -> None:
        """So many more connections of this worker are another's, from now on."""
        self._rows[slot][1 + self.slot] += connections

    def counts(self) -> list[int]:
        """How many connections each worker has, those that are on their way to it included."""
        return list(map(sum, self._rows))

    def with_fewer(self, *, leaving: bool) -> list[int]:
        """Siblings to hand over to, who has fewest first; one that is `leaving` may do so to any."""
        most = math.inf if leaving else sum(self._rows[self.slot])
        siblings = [slot for slot, welcome in enumerate(self._open) if welcome and slot != self.slot]
        fewer = [(count, slot) for slot in siblings if (count := sum(self._rows[slot])) < most]
        return [slot for _, slot in sorted(fewer)]


class DealtProtocol(Protocol):
    """One connection that was accepted here, or (`arrived`) handed over to here."""

    def __init__(self, siblings: Siblings, *, arrived: bool = False, **told: Any) -> None:  # noqa: ANN401  uvicorn's
        super().__init__(**told)
        self._siblings = siblings
        self._arrived = arrived
        self._handed_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come, and stays unless a sibling has fewer."""
        if not self._arrived and self._siblings.hand_over(transport):
            self._handed_over = True
            self.parser = None  # type: ignore[assignment]  # the two keep each other
            transport.abort()  # reads nothing, and closes one of several descriptors: the client notices neither
            return
        super().connection_made(transport)
        self._siblings.count(arrived=int(self._arrived))
        if self._arrived and self._siblings.ended:
            self.shutdown()  # as uvicorn has told all others by now

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or is a sibling's."""
        if not self._handed_over:
            super().connection_lost(exc)
            self._siblings.count()


class _Way:
    """To a sibling: a socket, and duplicates of what it has not answered for."""

    def __init__(self, address: str) -> None:
        self.unanswered: deque[int] = deque()
        self.socket = _message_socket()
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise


class Siblings:
    """The workers beside this one, as it hands connections over to them and takes theirs."""

    def __init__(self, server: uvicorn.Server, folder: Path, seats: int, slot: int) -> None:
        """Worker `slot` of at most `seats`, who meet in `folder`. Raises OSError where they cannot."""
        self._server = server
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._ways: dict[int, _Way] = {}
        self._callers: set[socket.socket] = set()
        self._arriving: set[asyncio.Task[None]] = set()  # the loop itself does not keep its tasks
        self._board = Board(folder / "connections", seats, slot)
        self._door = _message_socket()
        try:
            self._listen(self._address(slot))
        except OSError:
            self._door.close()
            raise
        # uvicorn asks its configuration for every connection.
        server.config.http_protocol_class = partial(DealtProtocol, self)  # type: ignore[assignment]
        self._loop.add_reader(self._door, self._welcome)
        self._board.open(welcome=True)

    def close(self) -> None:
        """Take nothing more. What a sibling has handed over and nobody took here, it takes back."""
        self._board.open(welcome=False)
        ends = [self._door, *self._callers, *(way.socket for way in self._ways.values())]
        for end in ends:
            self._loop.remove_reader(end)
            end.close()
        for way in self._ways.values():
            for duplicate in way.unanswered:
                os.close(duplicate)  # its receiver has the other one

    @property
    def leaving(self) -> bool:
        """The server was told to end."""
        return self._server.should_exit

    @property
    def ended(self) -> bool:
        """The server listens no more, and has told its connections."""
        return self._server.started and not any(listener.is_serving() for listener in self._server.servers)

    def count(self, *, arrived: int = 0) -> None:
        """Let the siblings know how many connections there are here."""
        self._board.set(len(self._server.server_state.connections), arrived=arrived)

    def hand_over(self, transport: asyncio.Transport) -> bool:
        """Hand a connection over to a sibling that has fewer; False where it stays."""
        fewer = self._board.with_fewer(leaving=self.leaving)
        return bool(fewer) and self._give(transport.get_extra_info("socket").fileno(), fewer)

    def _give(self, descriptor: int, slots: list[int]) -> bool:
        try:
            duplicate = os.dup(descriptor)
        except OSError:  # there are no more descriptors
            return False
        for slot in slots:
            self._board.give(slot)  # first, or a burst would be dealt out by old numbers
            try:
                way = self._way_to(slot)
                socket.send_fds(way.socket, [b"!"], [descriptor])
            except OSError:  # it has ended, or does not read
                self._board.give(slot, -1)
            else:
                way.unanswered.append(duplicate)
                return True
        os.close(duplicate)
        return False

    def _address(self, slot: int) -> str:
        return str(self._folder / f"{slot}.socket")

    def _listen(self, address: str) -> None:
        with suppress(FileNotFoundError):
            Path(address).unlink()  # of one who had this slot before
        self._door.bind(address)
        self._door.listen()

    def _way_to(self, slot: int) -> _Way:
        if (way := self._ways.get(slot)) is None:
            way = self._ways[slot] = _Way(self._address(slot))
            self._loop.add_reader(way.socket, self._hear, slot, way)
        return way

    def _hear(self, slot: int, way: _Way) -> None:
        """What a sibling says of the connections that were handed over to it, in their order."""
        for answer, _ in _messages(way.socket):
            if not answer:
                break
            duplicate = way.unanswered.popleft()
            if answer == _TAKEN:
                os.close(duplicate)
            else:
                self._take_back(slot, duplicate)
        else:
            return
        self._part_from(way.socket)
        del self._ways[slot]
        while way.unanswered:
            self._take_back(slot, way.unanswered.popleft())

    def _take_back(self, slot: int, duplicate: int) -> None:
        self._board.give(slot, -1)
        self._board.give(self._board.slot)
        self._serve(duplicate)

    def _welcome(self) -> None:
        """A sibling has found its way to here."""
        with suppress(OSError):  # it has gone again
            caller, _ = self._door.accept()
            caller.setblocking(False)
            self._callers.add(caller)
            self._loop.add_reader(caller, self._take, caller)

    def _take(self, caller: socket.socket) -> None:
        """Take what a sibling has handed over."""
        for message, descriptors in _messages(caller):
            if not message:
                self._callers.discard(caller)
                self._part_from(caller)
                return
            taken = bool(descriptors) and not self.leaving  # there is none where the limit on descriptors is reached
            # Said before a byte is read; a sibling that has ended since cannot hear it, and has no duplicate.
            with suppress(BrokenPipeError, ConnectionResetError):
                caller.send(_TAKEN if taken else _REFUSED)
            if self.leaving:
                self._board.open(welcome=False)
            for descriptor in descriptors:
                self._serve(descriptor) if taken else os.close(descriptor)

    def _serve(self, descriptor: int) -> None:
        """As if it had been accepted here."""
        task = self._loop.create_task(self._connect(socket.socket(fileno=descriptor)))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _connect(self, connection: socket.socket) -> None:
        server = self._server
        make = partial(
            DealtProtocol,
            self,
            arrived=True,
            config=server.config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )
        try:
            await self._loop.connect_accepted_socket(make, connection)
        except OSError:  # the client has gone
            connection.close()
            self.count(arrived=1)

    def _part_from(self, end: socket.socket) -> None:
        self._loop.remove_reader(end)
        end.close()


def _message_socket() -> socket.socket:
    """Keeps messages apart as datagrams do, and says when the other end is closed; holds hundreds, not ten of them."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.setblocking(False)
    return made


def _messages(end: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    """What has come, with the descriptors that it brought; an empty one last where the other end is closed."""
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(end, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:  # said once, and before what came until then
            continue
        yield message, descriptors
        if not message:
            return


@contextmanager
def siblings(server: uvicorn.Server, folder: Path, seats: int, slot: int) -> Iterator[None]:
    """Within the block, worker `slot` of at most `seats` shares its connections with those that meet in `folder`."""
    try:
        crew = Siblings(server, folder, seats, slot) if slot < seats else None
    except OSError as error:
        logger.warning("connections stay as unevenly dealt out as they come: %s", error)
        crew = None
    try:
        yield
    finally:
        if crew is not None:
            crew.close()
