"""Batches from a tf.data service: the same as without, or a clear end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import engine_toys
import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.distribution import data_service
from r2m.engine.errors import TrainingError
from r2m.engine.options import TrainingOptions
from r2m.engine.train import train


@contextlib.contextmanager
def service(workers: int = 1) -> Iterator[str]:
    api = tf.data.experimental.service
    dispatcher = api.DispatchServer(api.DispatcherConfig(port=0))
    config = api.WorkerConfig(dispatcher_address=dispatcher.target.split("://")[1])
    servers = [api.WorkerServer(config) for _ in range(workers)]
    while dispatcher._num_workers() < workers:
        time.sleep(0.01)
    yield dispatcher.target
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


def test_a_service_of_two_workers_is_refused(tmp_path):
    with service(workers=2) as address, pytest.raises(TrainingError, match="exactly one worker"):
        # Many steps: the second worker may be late.
        one = engine_toys.make_strategy("one_device")
        weights_after(tmp_path, one, data_service=address, steps=3000)


def test_nobody_answers(tmp_path, closed_port):
    address = f"grpc://localhost:{closed_port}"
    with pytest.raises(TrainingError, match=f"r2m-data-service --port={closed_port}"):
        weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service=address)
    with pytest.raises(TrainingError, match="expected grpc://HOST:PORT"):
        weights_after(tmp_path, engine_toys.make_strategy("one_device"), data_service="localhost")


def test_a_lost_service_ends_the_process(closed_port, monkeypatch):
    ended = threading.Event()
    codes = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(data_service, "_TIMEOUT", 0.01)
    monkeypatch.setattr(data_service.os, "_exit", leave)
    data_service._watch(("localhost", closed_port), "grpc://there", ended)
    assert codes == [1]
