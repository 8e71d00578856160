"""One port and several listeners, over real sockets."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.ports import DEALT_OUT, Port, reserve_port

if not DEALT_OUT:
    pytest.fail("these tests are of Linux: run them there")

CLIENTS = 64


@pytest.fixture
def port() -> Iterator[Port]:
    with reserve_port("127.0.0.1", 0) as reserved:
        yield reserved


def sent(port: Port) -> Port:
    """What a process gets that `port` is sent to."""
    found = pickle.loads(pickle.dumps(port))  # noqa: S301  our own bytes
    assert isinstance(found, Port)
    return found


def test_port_that_is_sent_is_another_socket_of_the_same_address(port: Port) -> None:
    with sent(port) as other:
        assert other.fileno() != port.fileno()
        assert other.getsockname() == port.getsockname()


def test_connections_are_dealt_out_among_those_who_listen(port: Port) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(sent(port)) for _ in range(2)]
        for worker in workers:
            worker.listen(CLIENTS)
            worker.setblocking(False)
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(port.getsockname()))
        taken = [_accept_all(worker, stack) for worker in workers]

    assert sum(taken) == CLIENTS
    assert min(taken) >= CLIENTS // 8  # an even chance each: once in 10^10 fewer


def _accept_all(worker: Port, stack: ExitStack) -> int:
    count = 0
    while True:
        try:
            stack.enter_context(worker.accept()[0])
        except BlockingIOError:
            return count
        count += 1


def test_port_where_somebody_listens_is_refused(port: Port) -> None:
    with sent(port) as worker:
        worker.listen()
        with pytest.raises(OSError, match="in use"):
            reserve_port("127.0.0.1", port.getsockname()[1])
