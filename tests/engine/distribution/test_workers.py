"""Two processes that train together, on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import engine_toys
import numpy as np
import pytest
import tensorflow as tf
from forked_processes import ForkedProcess
from test_train import tensors

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import (
    Worker,
    chief_value,
    first_replica,
    sum_over_workers,
    this_worker,
)
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics

ROOT = Path(__file__).parents[2]


def start_workers(
    stage: str, workdir: Path, *, die_at: tuple[str, str] = ("", "")
) -> list[ForkedProcess]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("localhost", 0))
    cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    started = []
    for index in range(2):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        script = [engine_toys.__file__, "multi_worker", str(workdir), stage, die_at[index]]
        started.append(
            ForkedProcess(
                [sys.executable, *script],
                env={**os.environ, "PYTHONPATH": path, "TF_CONFIG": json.dumps(config)},
            )
        )
    return started


def finish(workers: list[ForkedProcess]) -> list[tuple[int, str]]:
    found = []
    for worker in workers:
        try:
            output = "".join(worker.communicate(timeout=150))
        except subprocess.TimeoutExpired:
            worker.kill()
            output = "".join(worker.communicate())
        found.append((worker.returncode, output))
    return found


@pytest.mark.parametrize("stage", ["language-without-dropout", "pairs"])
def test_two_workers_equal_one_device(stage: str, tmp_path: Path) -> None:
    """Padding and rows differ by worker, one worker sometimes has no rows, norms are clipped."""
    engine_toys.run_named(stage, make_strategy("one_device"), tmp_path / "one")
    for code, output in finish(start_workers(stage, tmp_path / "two")):
        assert code == 0, output
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for a, b in zip(one, two, strict=True):
        for name in a.keys() - {"kind"}:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)
    weights, others = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        if "seed_generator" not in name:
            np.testing.assert_allclose(value, others[name], atol=1e-5, err_msg=name)
    assert len(list((tmp_path / "two").glob("events.*"))) == 1  # only the chief writes


def test_a_killed_worker_ends_the_job_which_then_resumes(
    mirrored: tf.distribute.Strategy, tmp_path: Path
) -> None:
    """With dropout: the result equals that of two replicas in one process without interruption."""
    engine_toys.run_named("language", mirrored, tmp_path / "whole")
    workers = start_workers("slowly-evaluated", tmp_path / "run")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGKILL)
    (code, output), (killed, _) = finish(workers)
    assert killed == -signal.SIGKILL
    assert code == 1
    assert "worker 0 of 2 lost the connection to another one" in output
    assert "Start the same command on all workers again" in output
    # The next time the chief is killed, while it saves.
    workers = start_workers("language", tmp_path / "run", die_at=("save:9", ""))
    (killed, _), (code, output) = finish(workers)
    assert (killed, code) == (-signal.SIGKILL, 1), output
    assert "worker 1 of 2 lost the connection to another one" in output
    for code, output in finish(start_workers("language", tmp_path / "run")):
        assert code == 0, output
    whole, again = tensors(tmp_path / "whole"), tensors(tmp_path / "run")
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "run")]
    assert metrics[0] == metrics[1]


def test_alone(mirrored: tf.distribute.Strategy) -> None:
    for strategy in (make_strategy("one_device"), mirrored):
        assert this_worker(strategy) == Worker(0, 1)
        assert this_worker(strategy).is_chief
        assert first_replica(strategy) == 0
        assert (sum_over_workers(strategy, 2.5), chief_value(strategy, 2.5)) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("{", "TF_CONFIG is not a cluster"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG is not a cluster with this worker in it"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "TF_CONFIG is not a cluster with this worker in it",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "TF_CONFIG lists ps: only the types chief and worker are supported",
        ),
    ],
)
def test_a_bad_cluster_says_what_is_wrong(
    config: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(TrainingError, match=message):
        make_strategy("multi_worker")
