"""Batches made by another process, a tf.data service, which may run on a machine of its own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from r2m.engine.errors import TrainingError

OUT_OF_ORDER = "the data service gave a batch out of turn"
_TIMEOUT = 10.0  # seconds to answer in
_PATIENCE = 6  # times in a row that the service may not answer


@contextlib.contextmanager
def served(dataset: tf.data.Dataset, address: str | None) -> Iterator[tf.data.Dataset]:
    """Yields `dataset`, made by the service at `address`; unchanged where that is None.

    The service sends whole batches of this process, in their order: where they are made changes
    nothing of a run. It needs to see the records under the same paths.

    Args:
        dataset: endless.
        address: 'grpc://HOST:PORT' of a dispatcher with exactly one worker (`r2m-data-service`).

    Raises:
        TrainingError: no such address, or nobody answers there. Later it is the whole process that
            ends, with exit code 1: TensorFlow would wait for a lost service for ever, deaf to
            signals, and a run resumes from its last checkpoint.
    """
    if address is None:
        yield dataset
        return
    match = re.fullmatch(r"grpc://(.+):(\d+)", address)
    if match is None:
        raise TrainingError(f"data service {address!r}: expected grpc://HOST:PORT")
    host = (match[1], int(match[2]))
    problem = _problem(host)
    if problem is not None:
        raise TrainingError(
            f"no data service answers at {address} ({problem}); start one there with "
            f"r2m-data-service --port={match[2]}"
        )
    ended = threading.Event()
    threading.Thread(target=_watch, args=(host, address, ended), daemon=True).start()
    try:
        yield _numbered(dataset, address)
    finally:
        ended.set()


def _numbered(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Through the service, which numbers the batches: two workers would each send all of them."""
    service = tf.data.experimental.service.distribute(
        processing_mode=tf.data.experimental.service.ShardingPolicy.OFF, service=address
    )

    def check(expected: tf.Tensor, numbered: tuple[tf.Tensor, object]) -> object:
        number, batch = numbered
        with tf.control_dependencies([tf.debugging.assert_equal(number, expected, OUT_OF_ORDER)]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().apply(service).enumerate().map(check)


def _watch(host: tuple[str, int], address: str, ended: threading.Event) -> None:
    failures = 0
    while not ended.wait(_TIMEOUT):
        problem = _problem(host)
        failures = failures + 1 if problem else 0
        if problem:
            logging.warning("the data service at %s does not answer (%s)", address, problem)
        if failures >= _PATIENCE:
            logging.error(
                "the data service at %s is lost; start it again, then the same command: the run "
                "resumes from its last checkpoint",
                address,
            )
            os._exit(1)


def _problem(host: tuple[str, int]) -> str | None:
    try:
        socket.create_connection(host, timeout=_TIMEOUT).close()
    except OSError as error:
        return str(error)
    return None
