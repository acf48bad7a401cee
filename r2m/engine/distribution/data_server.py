"""A tf.data service of one process: a dispatcher, which runs connect to, and its one worker."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from absl import logging

from r2m.engine.distribution.addresses import format_host, host_problem, is_loopback
from r2m.engine.errors import TrainingError

_START = 30.0  # seconds for a worker to report to its dispatcher


@contextlib.contextmanager
def serving(host: str, port: int, worker_port: int) -> Iterator[str]:
    """Serves until the context ends; yields the address for runs, 'grpc://HOST:PORT'.

    TensorFlow listens on all interfaces. If `host` is this machine's loopback, sockets are bound on
    Linux to connections from this machine; otherwise a warning is logged.

    Args:
        host: name or IP address by which runs reach this machine.
        port: port of the dispatcher.
        worker_port: port of the worker, which sends the batches.

    Raises:
        TrainingError: a port is in use or forbidden, or `host` is not an address to connect to.
    """
    if (problem := host_problem(host)) is not None:
        raise TrainingError(
            f"--host={host}: {problem}; give the name or IP address by which the training machines "
            "reach this one (the service then listens on all interfaces)"
        )
    if port == worker_port:
        raise TrainingError(f"--port and --worker_port are both {port}: give different ones")
    _require_free("port", port)
    _require_free("worker_port", worker_port)
    service = tf.data.experimental.service
    worker = None
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
        # Only one worker, because each worker would send every batch.
        worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"localhost:{port}",
                worker_address=format_host(host, worker_port),
                port=worker_port,
            )
        )
    except RuntimeError as error:
        flag, number = ("port", port) if worker is None else ("worker_port", worker_port)
        raise TrainingError(f"--{flag}={number}: cannot be served at ({error})") from error
    closed = is_loopback(host) and _restricted_to_loopback((port, worker_port))
    deadline = time.monotonic() + _START
    while dispatcher._num_workers() < 1:
        if time.monotonic() > deadline:
            raise TrainingError(f"the worker does not reach its dispatcher at localhost:{port}")
        time.sleep(0.01)
    if not closed:
        logging.warning(
            "ports %d and %d are open on all interfaces, without authentication: whoever connects "
            "to them can run TensorFlow programs as this user, which read and write files. Use "
            "a firewall that admits only the machines that train.",
            port, worker_port,
        )  # fmt: skip
    try:
        yield f"grpc://{format_host(host, port)}"
    finally:
        worker.stop()
        dispatcher.stop()


def _require_free(flag: str, port: int) -> None:
    """Raises TrainingError for a port in use, which TensorFlow would share and lose calls."""
    dual = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if dual else socket.AF_INET) as probe:
        # Closed connections of an earlier service do not matter, but a listening process does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if dual:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("::" if dual else "0.0.0.0", port))
        except OSError as error:
            hint = "give another port"
            if error.errno == errno.EADDRINUSE:
                hint = f"`ss -ltnp` lists the processes that have ports: stop that one, or {hint}"
            raise TrainingError(f"--{flag}={port}: {error.strerror}; {hint}") from error


def _restricted_to_loopback(ports: tuple[int, int]) -> bool:
    """Binds this process' sockets that listen on `ports` to the loopback interface, if possible."""
    if sys.platform != "linux":
        return False
    restricted = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed in the meantime, or not permitted
            if not str(link.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(link.name))) as found:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if not listens or found.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                if (port := found.getsockname()[1]) in ports:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
                    restricted.add(port)
    return restricted == set(ports)
