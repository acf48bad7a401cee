"""Network interface of a server: its port, and shutdown without lost responses."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from tfrecords.core.errors import InputError

_BACKLOG = 1024
_KEEP_ALIVE = 15  # seconds that a connection stays open between requests


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address and does not listen yet.

    Args:
        host: name or address.
        port: port number; 0 selects a free one.

    Raises:
        InputError: the host does not exist, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; give another --host "
            "or --port"
        ) from error
    return found


def url_of(bound: socket.socket) -> str:
    """Returns the address of a socket for clients."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Any, bound: socket.socket, seconds: float, started: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT, then answers the accepted requests.

    Args:
        app: ASGI application.
        bound: socket, see `bind`.
        seconds: maximum time for an answer, in seconds.
        started: called when the server listens.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        # A body and its response have this time each.
        timeout_graceful_shutdown=round(2 * seconds) + 1,
    )
    # uvicorn raises the signal again when it has ended, but the process must end with code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    Server(config).run(sockets=[bound])
