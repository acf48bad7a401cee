"""Batches made by another process, a tf.data service, possibly on another machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import grpc
import tensorflow as tf
from absl import logging

from r2m.engine.distribution.addresses import (
    connection_problem,
    format_host,
    is_loopback,
    parse_address,
    split_host,
)
from r2m.engine.errors import TrainingError, plain_message

# Maximum number of prefetched batches, and therefore of steps per graph call.
_AHEAD = 4
_TIMEOUT = 10.0  # seconds for an answer
_PERIOD = 10.0  # seconds between checks of a service that sends no batch
_PATIENCE = 6  # consecutive failed checks before the service counts as lost
_LIMIT = 600.0  # seconds for a batch from a responsive service
_TICK = 0.2  # maximum delay of the reaction to a signal, in seconds


class ServedBatches(NamedTuple):
    """Batches to train on.

    Attributes:
        dataset: the batches.
        wait: `wait(steps, stopped)` returns how many of the next `steps` batches are available, at
            least 1; or 0 once `stopped(seconds waited)` is true. Signal handlers run while it
            waits, unlike in a graph call. It raises the error of a failed service.
    """

    dataset: tf.data.Dataset
    wait: Callable[[int, Callable[[float], bool]], int]


@contextlib.contextmanager
def served_batches(
    dataset: tf.data.Dataset, address: str | None, stopped: Callable[[], bool]
) -> Iterator[ServedBatches]:
    """Yields `dataset`, computed by the service at `address`; unchanged if that is None.

    The service sends complete batches of this process in order, so that it does not affect the
    results of a run. It requires the records under the same paths.

    Args:
        dataset: infinite dataset.
        address: 'grpc://HOST:PORT' of a dispatcher with exactly one worker (`r2m-data-service`).
        stopped: returns whether a signal arrived. Afterwards, a pending query to the service is
            abandoned and no batch is requested.

    Raises:
        TrainingError: the address is invalid, or the service cannot be used. `wait` raises it if
            the service is lost, restarted, or sends no batch in time.
    """
    if address is None:
        yield ServedBatches(dataset, lambda steps, stopped: steps)
        return
    try:
        parse_address(address)
    except ValueError as error:
        raise TrainingError(f"data service {address!r}: expected {error}") from None
    asked: futures.Future[str | None] = futures.Future()
    # A daemon thread, so that signal handlers run while it waits for an unreachable host.
    threading.Thread(target=_settle, args=(asked, address), daemon=True).start()
    while not futures.wait([asked], timeout=_TICK).done:
        if stopped():
            yield ServedBatches(dataset, lambda steps, stopped: 0)
            return
    problem = asked.result()
    if problem is not None:
        raise TrainingError(problem)
    feed = _Prefetcher(dataset, address)
    try:
        yield ServedBatches(feed.dataset(), feed.wait)
    finally:
        feed.close()


def _settle(asked: futures.Future[str | None], address: str) -> None:
    try:
        asked.set_result(service_problem(address))
    except Exception as error:
        asked.set_exception(error)


def service_problem(address: str) -> str | None:
    """Queries the service at `address`; returns the problem and the remedy, or None."""
    host, port = parse_address(address)
    named = "" if is_loopback(host) else f"--host={host} "
    problem = connection_problem((host, port), _TIMEOUT)
    if problem is not None:
        return (
            f"no data service answers at {address} ({problem}); start one there with "
            f"r2m-data-service {named}--port={port}"
        )
    try:
        workers = worker_addresses(host, port)
    except grpc.RpcError as error:
        said = error.details() if isinstance(error, grpc.Call) else str(error)
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return (
                f"{address} accepts connections but did not answer within {_TIMEOUT:g} s: the data "
                "service there hangs or is suspended, or another program uses the port"
            )
        return f"{address} is not a data service of this TensorFlow ({said})"
    if len(workers) != 1:
        return (
            f"the data service at {address} has {len(workers)} workers: expected exactly one "
            "worker, as r2m-data-service starts it"
        )
    problem = connection_problem(split_host(workers[0]), _TIMEOUT)
    if problem is None:
        return None
    return (
        f"the data service at {address} sends its batches from {workers[0]}, which cannot be "
        f"reached from here ({problem}); start it with r2m-data-service --host=NAME, a name or "
        "address of its machine that this one can connect to, and let firewalls pass both ports"
    )


def worker_addresses(host: str, port: int) -> list[str]:
    """Returns 'HOST:PORT' of every worker of the dispatcher at `host`.

    Raises:
        grpc.RpcError: no dispatcher responds.
    """
    with grpc.insecure_channel(format_host(host, port)) as channel:
        ask = channel.unary_unary("/tensorflow.data.DispatcherService/GetWorkers")
        reply = ask(b"", timeout=_TIMEOUT)
    # TensorFlow has no Python class for the reply (repeated WorkerInfo workers = 1, each with
    # string address = 1). A ClusterDef (repeated JobDef job = 1, each with string name = 1) has the
    # same encoding.
    return [job.name for job in tf.train.ClusterDef.FromString(reply).job]


class _Prefetcher:
    """Prefetches batches from a service in a thread.

    A graph that waits for a batch cannot handle signals or be interrupted. Therefore it starts only
    when all its batches are available.
    """

    def __init__(self, dataset: tf.data.Dataset, address: str) -> None:
        """Starts prefetching batches of `dataset` from the service at `address`."""
        self._address = address
        self._batches = dataset
        self._specs = tf.nest.flatten(dataset.element_spec)
        with tf.device("CPU:0"):
            self._ready = tf.queue.FIFOQueue(_AHEAD, [spec.dtype for spec in self._specs])
        self._changed = threading.Condition()
        self._received = self._needed = 0
        self._error: Exception | None = None
        self._closed = threading.Event()
        for job in (self._take, self._watch):
            # Daemons, because TensorFlow may wait forever for a lost service.
            threading.Thread(target=job, daemon=True).start()

    def dataset(self) -> tf.data.Dataset:
        """Returns the batches, in order."""

        def take(_: tf.Tensor) -> Any:
            tensors = tf.nest.flatten(self._ready.dequeue())
            for tensor, spec in zip(tensors, self._specs, strict=True):
                tensor.set_shape(spec.shape)
            return tf.nest.pack_sequence_as(self._batches.element_spec, tensors)

        return tf.data.Dataset.counter().map(take)

    def wait(self, steps: int, stopped: Callable[[float], bool]) -> int:
        """Waits for batches, as `ServedBatches` describes."""
        steps = min(steps, _AHEAD)
        started = time.monotonic()
        with self._changed:
            self._needed += steps
            while self._received < self._needed:
                if self._error is not None:
                    raise self._error
                if stopped(time.monotonic() - started):
                    return 0
                self._changed.wait(_TICK)
        return steps

    def close(self) -> None:
        """Stops prefetching."""
        self._closed.set()
        self._ready.close(cancel_pending_enqueues=True)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def _take(self) -> None:
        try:
            service = tf.data.experimental.service.distribute(
                processing_mode=tf.data.experimental.service.ShardingPolicy.OFF,
                service=self._address,
            )
            options = tf.data.Options()
            # Autotuning has no effect here, and its thread delays the end of the process by a
            # minute.
            options.autotune.enabled = False
            with tf.device("CPU:0"):
                numbered = iter(self._batches.enumerate().apply(service).with_options(options))

            @tf.function
            def take() -> tf.Tensor:  # one call per batch, because Python is slow
                number, batch = next(numbered)
                self._ready.enqueue(tf.nest.flatten(batch))
                return number

            while (number := int(take())) == self._received:
                with self._changed:
                    self._received += 1
                    self._changed.notify()
            # Two workers would each send all batches, and a restarted one would repeat the first
            # ones.
            raise TrainingError(
                f"the data service at {self._address} sent batch {number} out of order, after "
                f"{self._received}: it must have exactly one worker and not be restarted during a "
                "run"
            )
        except (tf.errors.DataLossError, TrainingError) as error:
            self._fail(error)
        except Exception as error:
            if self._closed.is_set():
                return
            said = plain_message(str(getattr(error, "message", error))).rstrip(".")
            what = (
                f"the data service at {self._address} was started again during the run"
                if "dispatcher restart" in said
                else f"the data service at {self._address} failed: {said}. It needs the records "
                "under the same paths as this machine"
            )
            self._fail(TrainingError(what))

    def _watch(self) -> None:
        seen, since, problems = -1, time.monotonic(), 0
        while not self._closed.wait(_PERIOD):
            with self._changed:
                received, awaited = self._received, self._needed > self._received
            if received != seen or not awaited:
                seen, since, problems = received, time.monotonic(), 0
                continue
            problem = service_problem(self._address)
            waited = time.monotonic() - since
            problems = problems + 1 if problem else 0
            logging.warning(
                "%s", problem or f"no batch from {self._address} for {waited:.0f} s; it answers"
            )
            if problems >= _PATIENCE:
                self._fail(TrainingError(f"gave up after {waited:.0f} s: {problem}"))
            elif waited >= _LIMIT:
                which = "first batch" if received == 0 else f"batch after {received}"
                self._fail(
                    TrainingError(
                        f"the {which} from the data service at {self._address} did not come within "
                        f"{_LIMIT:.0f} s although the service answers: check that its process is "
                        "alive and busy, does not wait for its disk, and can read the records "
                        "under the same paths"
                    )
                )
