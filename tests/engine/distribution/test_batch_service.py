"""Batches from a tf.data service: equal to local batches, or training stops with all work saved."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import engine_toys
import grpc
import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.distribution import batch_service
from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.options import TrainingOptions
from r2m.engine.train import train


@contextlib.contextmanager
def service(workers: int = 1, announced: str = "localhost:%port%") -> Iterator[str]:
    """Yields the address of a service of this process."""
    api = tf.data.experimental.service
    dispatcher = api.DispatchServer(api.DispatcherConfig(port=0))
    address = dispatcher.target.split("://")[1]
    config = api.WorkerConfig(dispatcher_address=address, worker_address=announced)
    servers = [api.WorkerServer(config) for _ in range(workers)]
    while dispatcher._num_workers() < workers:
        time.sleep(0.01)
    try:
        yield dispatcher.target
    finally:
        for server in (*servers, dispatcher):
            server._stop()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def weights_after(workdir: Path, strategy: tf.distribute.Strategy, **changes) -> list[np.ndarray]:
    with strategy.scope():
        stage = engine_toys.LanguageStage()
    settings = {"steps": 9, "steps_per_loop": 3, "show_progress": False, **changes}
    options = TrainingOptions(**settings)
    train(stage, options, workdir, strategy=strategy)
    return stage.model.get_weights()


def test_the_service_changes_nothing(strategy, tmp_path):
    expected = weights_after(tmp_path / "here", strategy)
    with service() as address:
        found = weights_after(tmp_path / "there", strategy, data_service=address)
    for own, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[tf.queue.QueueBase]:
    """Queue that replaces the service: each entry delivers one batch, which is made here.

    Training polls for batches every 50 ms, and gives up after a few polls.
    """
    monkeypatch.setattr(batch_service, "_PERIOD", 0.05)
    monkeypatch.setattr(batch_service, "_PATIENCE", 3)
    entries = tf.queue.FIFOQueue(1000, [tf.bool], [()])

    def let_through(*batch: tf.Tensor) -> object:
        with tf.control_dependencies([entries.dequeue()]):
            return tf.nest.map_structure(tf.identity, batch)

    monkeypatch.setattr(
        tf.data.experimental.service, "distribute", lambda **_: lambda data: data.map(let_through)
    )
    yield entries
    entries.close()


def after_five(
    batches: tf.queue.QueueBase, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]
) -> None:
    """Delivers five batches; calls `then` when training begins to wait for the next one."""
    batches.enqueue_many([[True] * 5])
    wait = batch_service._Prefetcher.wait

    def noticed_wait(feed: batch_service._Prefetcher, *arguments: Any) -> int:
        if feed._needed == 5:
            then()
        return wait(feed, *arguments)

    monkeypatch.setattr(batch_service._Prefetcher, "wait", noticed_wait)


def train_served(workdir: Path, address: str) -> None:
    weights_after(
        workdir, engine_toys.make_strategy("one_device"), steps_per_loop=1, data_service=address
    )


def assert_resumes(tmp_path: Path) -> None:
    """Asserts that the run resumes after step 5 and ends like an undisturbed run."""
    workdir, one = tmp_path / "run", engine_toys.make_strategy("one_device")
    assert [folder.name for folder in (workdir / "checkpoints").iterdir()] == ["step-00000005"]
    expected = weights_after(tmp_path / "expected", one)
    for own, other in zip(expected, weights_after(workdir, one), strict=True):
        np.testing.assert_array_equal(own, other)


class TestNoBatchComes:
    def test_a_signal_saves_and_stops_at_once(self, batches, tmp_path, monkeypatch):
        sent = []

        def stop() -> None:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

        after_five(batches, monkeypatch, threading.Timer(0.3, stop).start)
        message = "SIGTERM after step 5 of 9; all is saved"
        with service() as address, pytest.raises(TrainingInterrupted, match=message):
            train_served(tmp_path / "run", address)
        assert time.monotonic() - sent[0] < 20
        assert_resumes(tmp_path)

    def test_a_service_that_answers_has_a_limit(self, batches, tmp_path, monkeypatch):
        after_five(batches, monkeypatch, lambda: monkeypatch.setattr(batch_service, "_LIMIT", 0.2))
        with service() as address, pytest.raises(TrainingError) as caught:
            train_served(tmp_path / "run", address)
        message = str(caught.value)
        assert f"the batch after 5 from the data service at {address} did not come" in message
        assert f"all 5 steps are saved in {tmp_path / 'run'}" in message
        assert_resumes(tmp_path)

    def test_the_first_batch_has_a_limit(self, batches, tmp_path, monkeypatch):
        monkeypatch.setattr(batch_service, "_LIMIT", 0.1)
        with service() as address, pytest.raises(TrainingError) as caught:
            train_served(tmp_path, address)
        assert f"the first batch from the data service at {address}" in str(caught.value)
        assert not (tmp_path / "checkpoints").exists()

    def test_a_signal_stops_while_the_address_does_not_answer(self, tmp_path, monkeypatch):
        def wait_after_a_signal(*_: Any) -> None:
            # Delayed: before training handles the signal, it would end the tests.
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            time.sleep(20)

        monkeypatch.setattr(batch_service, "connection_problem", wait_after_a_signal)
        started = time.monotonic()
        with pytest.raises(TrainingInterrupted, match="SIGTERM after step 0 of 9"):
            train_served(tmp_path, "grpc://localhost:1")
        assert time.monotonic() - started < 15

    def test_a_lost_service_is_an_error(self, batches, tmp_path, monkeypatch):
        # Simulates a lost machine; TensorFlow alone would wait for it forever.
        problem: list[str] = []
        monkeypatch.setattr(batch_service, "service_problem", lambda _: "".join(problem) or None)
        after_five(batches, monkeypatch, lambda: problem.append("gone"))
        with pytest.raises(TrainingError, match=r"gave up after .*: gone\. Nothing is lost.* 5"):
            train_served(tmp_path / "run", "grpc://localhost:1")
        assert_resumes(tmp_path)


class TestWorkers:
    def test_two_are_refused(self, tmp_path):
        with service(workers=2) as address, pytest.raises(TrainingError, match="exactly one"):
            weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service=address)

    def test_two_are_noticed_where_one_comes_later(self, tmp_path, monkeypatch):
        monkeypatch.setattr(batch_service, "service_problem", lambda address: None)
        with service(workers=2) as address, pytest.raises(TrainingError, match="out of order"):
            # Many steps: the second worker may be late.
            one = engine_toys.make_strategy("one_device")
            weights_after(tmp_path, one, data_service=address, steps=3000)

    def test_one_that_announces_another_address_is_named(self, tmp_path, closed_port):
        announced = f"localhost:{closed_port}"
        with service(announced=announced) as address, pytest.raises(TrainingError) as caught:
            weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service=address)
        message = str(caught.value)
        assert f"{address} sends its batches from {announced}, which cannot be reached" in message
        assert "--host=NAME" in message


def test_nobody_answers(tmp_path, closed_port):
    address = f"grpc://localhost:{closed_port}"
    with pytest.raises(TrainingError, match=f"r2m-data-service --port={closed_port}"):
        weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service=address)
    with pytest.raises(TrainingError, match="expected grpc://HOST:PORT"):
        weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service="localhost")


def test_what_answers_is_no_service(monkeypatch):
    monkeypatch.setattr(batch_service, "_TIMEOUT", 0.5)
    with socket.create_server(("localhost", 0)) as silent:
        address = f"grpc://localhost:{silent.getsockname()[1]}"
        expected = f"{address} accepts connections but did not answer within 0.5 s"
        assert expected in str(batch_service.service_problem(address))
    monkeypatch.setattr(batch_service, "_TIMEOUT", 10)
    other = grpc.server(futures.ThreadPoolExecutor())
    address = f"grpc://localhost:{other.add_insecure_port('localhost:0')}"
    other.start()
    try:
        problem = str(batch_service.service_problem(address))
    finally:
        other.stop(None)
    assert f"{address} is not a data service of this TensorFlow" in problem
