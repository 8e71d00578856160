"""One port, several processes: each listens for itself, and the system deals new connections out among them.

Where processes accept from one socket, whichever wakes first takes all that wait: of 64 clients who come at once one
worker may get every one, and the others stand idle for as long as the connections live. The system deals by a hash, so
shares are uneven still; `app/siblings.py` makes them even.
"""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

logger = logging.getLogger(__name__)

DEALT_OUT = sys.platform == "linux"
"""Elsewhere the system knows no SO_REUSEPORT, or lets the last process that listens have everything."""


class Port(socket.socket):
    """A bound socket that is opened anew in the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open_port, (self.family, self.getsockname())


def open_port(family: int, address: tuple[Any, ...]) -> Port:
    """A socket bound to `address` beside others of this user's. Raises OSError where that cannot be had."""
    port = Port(family)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    port.bind(address)
    return port


def reserve_port(host: str, number: int) -> Port:
    """A socket that holds the port without listening, to be sent to those who do; 0 lets the system choose.

    Raises OSError where the port cannot be had, as when somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:  # which other listeners of this user's would not refuse
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, number))
        number = trial.getsockname()[1]
    port = open_port(family, (host, number))
    name = f"[{host}]" if family == socket.AF_INET6 else host
    logger.info("Uvicorn running on http://%s:%d (Press CTRL+C to quit)", name, number)
    return port
