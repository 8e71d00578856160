"""Connections between workers, over real sockets: evenly many each, and none lost or answered by two."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from app import siblings as module
from app.protocol import Protocol
from app.siblings import Board, siblings

GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"

Answer = tuple[asyncio.StreamReader, asyncio.StreamWriter, str]


def naming(name: str) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": name.encode()})

    return application


@asynccontextmanager
async def worker(folder: Path, slot: int) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server that answers with its slot, and the number of the port where it alone accepts."""
    config = uvicorn.Config(naming(str(slot)), http=Protocol, lifespan="off", log_config=None, access_log=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    with siblings(server, folder, 3, slot):
        await server.startup(sockets=[listener])
        yield server, port
        server.should_exit = True
        await server.shutdown([listener])


class Stranger:
    """A sibling in slot 1 that takes and answers as a test says."""

    def __init__(self, folder: Path) -> None:
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(str(folder / "1.socket"))
        self.door.listen()
        self.board = Board(folder / "connections", 3, 1)
        self.board.open(welcome=True)

    def end(self, *ends: socket.socket) -> None:
        """As a process that is killed."""
        for end in (self.door, *ends):
            end.close()

    def takes(self) -> tuple[socket.socket, socket.socket]:
        """Who calls, and the first connection that it hands over."""
        caller, _ = self.door.accept()
        _, (descriptor,), _, _ = socket.recv_fds(caller, 1, 1)
        return caller, socket.socket(fileno=descriptor)


async def ask(port: int, request: bytes = GET) -> Answer:
    """A connection that stays, and who answered its first request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return reader, writer, (await reader.readexactly(1)).decode()


async def rest(answer: Answer) -> bytes:
    """All that comes after a last request, until the other side closes."""
    reader, writer, _ = answer
    writer.write(LAST)
    found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return found


async def answered_by(port: int, clients: int) -> list[Answer]:
    """So many clients at once."""
    return list(await asyncio.gather(*(ask(port) for _ in range(clients))))


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until something holds; the test's own patience ends it otherwise."""
    while not condition():  # noqa: ASYNC110  what is waited for tells nobody
        await asyncio.sleep(0)


def names(answers: list[Answer]) -> Counter[str]:
    return Counter(name for _, _, name in answers)


def open_sockets() -> list[str]:
    """Of this process."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor that reads the folder
            found.append(str(path.readlink()))
    return sorted(name for name in found if name.startswith("socket:"))


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each of the two loops; no descriptor is left over."""

    def within(main: Coroutine[Any, Any, None]) -> None:
        before = open_sockets()
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 30))
        assert open_sockets() == before

    return within


@pytest.fixture
def crew(tmp_path: Path) -> Callable[[int], Any]:
    """So many workers that meet in one folder."""

    @asynccontextmanager
    async def workers(count: int) -> AsyncIterator[list[tuple[uvicorn.Server, int]]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(worker(tmp_path, slot)) for slot in range(count)]

    return workers


def test_what_one_accepts_all_share_and_each_request_is_answered_once(
    run: Run, crew: Callable[[int], Any], tmp_path: Path
) -> None:
    async def main() -> None:
        async with crew(2) as [(_, port), _]:
            answers = await answered_by(port, 64)
            assert names(answers) == {"0": 32, "1": 32}
            for end in await asyncio.gather(*map(rest, answers)):
                assert end.count(b"HTTP/1.1 ") == 1
            spectator = Board(tmp_path / "connections", 3, 2)
            await turns_until(lambda: spectator.counts() == [0, 0, 0])

    run(main())


def test_all_may_accept_at_once(run: Run, crew: Callable[[int], Any]) -> None:
    async def main() -> None:
        async with crew(3) as workers:
            ports = [port for _, port in workers]
            asked = await asyncio.gather(*(answered_by(ports[n % 2], 1) for n in range(63)))
            answers = [answer for (answer,) in asked]
            assert sorted(names(answers).values()) == [21, 21, 21]
            await asyncio.gather(*map(rest, answers))

    run(main())


def test_client_that_goes_leaves_its_place_to_another(run: Run, crew: Callable[[int], Any]) -> None:
    async def main() -> None:
        async with crew(2) as [(server, port), _]:
            answers = await answered_by(port, 4)
            gone = [answer for answer in answers if answer[2] == "0"]
            await asyncio.gather(*map(rest, gone))
            await turns_until(lambda: not server.server_state.connections)
            later = await answered_by(port, 2)
            assert names(later) == {"0": 2}
            await asyncio.gather(*map(rest, [*later, *(answer for answer in answers if answer[2] == "1")]))

    run(main())


def test_worker_that_ends_takes_none_and_hands_over_all_that_still_come(run: Run, crew: Callable[[int], Any]) -> None:
    async def main() -> None:
        async with crew(2) as [(staying, port), (leaving, late_port)]:
            leaving.should_exit = True
            answers = await answered_by(port, 8)
            answers += await answered_by(late_port, 8)
            assert names(answers) == {"0": 16}
            assert len(staying.server_state.connections) == 16
            assert not leaving.server_state.connections
            await asyncio.gather(*map(rest, answers))

    run(main())


def test_worker_that_was_replaced_begins_with_no_connection(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, 0) as (_, port):
            async with worker(tmp_path, 1):
                before = await answered_by(port, 8)
                assert names(before) == {"0": 4, "1": 4}
                gone = [answer for answer in before if answer[2] == "1"]
                await asyncio.gather(*map(rest, gone))
            kept = [answer for answer in before if answer[2] == "0"]
            kept += await answered_by(port, 2)
            assert names(kept) == {"0": 6}
            async with worker(tmp_path, 1):
                after = await answered_by(port, 8)
                assert names(after) == {"0": 1, "1": 7}
                await asyncio.gather(*map(rest, [*kept, *after]))

    run(main())


@pytest.mark.parametrize("taken", [0, 1])
def test_what_a_killed_sibling_had_not_taken_is_served_where_it_was_accepted(
    run: Run, tmp_path: Path, taken: int
) -> None:
    async def main() -> None:
        async with worker(tmp_path, 0) as (server, port):
            stranger = Stranger(tmp_path)
            asked = [await ask(port)]  # the first stays
            asking = [asyncio.create_task(ask(port)) for _ in range(3)]
            await turns_until(lambda: stranger.board.counts()[:2] == [2, 2])
            caller, connection = stranger.takes()
            if taken:
                caller.send(b"+")
            stranger.end(caller, connection)
            await turns_until(lambda: len(server.server_state.connections) == 4 - taken)
            done = await asyncio.gather(*asking, return_exceptions=True)
            lost = [each for each in done if isinstance(each, BaseException)]
            assert len(lost) == taken  # as whatever a killed worker has
            asked += [each for each in done if not isinstance(each, BaseException)]
            assert names(asked) == {"0": 4 - taken}
            later = await answered_by(port, 2)
            assert names(later) == {"0": 2}  # nothing goes to who is no more
            await asyncio.gather(*map(rest, [*asked, *later]))

    run(main())


def test_sibling_may_refuse(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, 0) as (_, port):
            stranger = Stranger(tmp_path)
            first, asking = await ask(port), asyncio.create_task(ask(port))
            await turns_until(lambda: stranger.board.counts()[1] == 1)
            caller, connection = stranger.takes()
            connection.close()
            caller.send(b"-")
            answers = [first, await asking]
            assert names(answers) == {"0": 2}
            assert stranger.board.counts()[:2] == [2, 0]
            await asyncio.gather(*map(rest, answers))
            stranger.end(caller)

    run(main())


def test_sibling_that_does_not_read_is_given_no_more_than_it_can_hold(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the system grants: a few messages
        return made

    monkeypatch.setattr(module, "_message_socket", short)

    async def main() -> None:
        async with worker(tmp_path, 0) as (server, port):
            stranger = Stranger(tmp_path)
            asking = [asyncio.create_task(ask(port)) for _ in range(64)]
            await turns_until(lambda: sum(stranger.board.counts()) == 64)
            own, on_their_way, _ = stranger.board.counts()
            assert 0 < on_their_way < 32 < own
            stranger.end()
            answers = await asyncio.gather(*asking)
            assert len(server.server_state.connections) == 64
            assert stranger.board.counts()[:2] == [64, 0]
            await asyncio.gather(*map(rest, answers))

    run(main())


def test_message_without_a_descriptor_is_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            async with worker(tmp_path, 0):
                caller.connect(str(tmp_path / "0.socket"))
                caller.setblocking(False)
                await loop.sock_sendall(caller, b"!")
                assert await loop.sock_recv(caller, 1) == b"-"

    run(main())


def test_board_counts_what_is_on_its_way_with_who_will_have_it(tmp_path: Path) -> None:
    first, second, third = (Board(tmp_path / "connections", 3, slot) for slot in range(3))
    for board in (first, second):
        board.open(welcome=True)
    first.set(5)
    second.set(3)
    assert first.with_fewer(leaving=False) == [1]  # nobody is in the third seat
    assert second.with_fewer(leaving=False) == []
    assert second.with_fewer(leaving=True) == [0]
    third.open(welcome=True)
    assert first.with_fewer(leaving=False) == [2, 1]
    first.give(1, 2)
    assert [board.counts() for board in (first, second, third)] == [[5, 5, 0]] * 3
    second.set(4, arrived=1)
    assert first.counts() == [5, 5, 0]
    again = Board(tmp_path / "connections", 3, 1)
    assert again.counts() == [5, 0, 0]


def test_folder_where_no_socket_can_be_stops_nobody(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = tmp_path / ("x" * 120)  # the system's limit for a socket's address is 108 bytes
    deep.mkdir()

    async def main() -> None:
        async with worker(deep, 0) as (_, port):
            answer = await ask(port)
            assert answer[2] == "0"
            await rest(answer)

    run(main())
    assert "as unevenly dealt out as they come" in caplog.text
