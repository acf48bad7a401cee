"""Batches of requests that arrive together."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from r2m.serving.batching import Batcher, BatchLimits, QueueFull


def test_a_batch_that_fails_is_computed_request_by_request() -> None:
    def inverse(columns: Any) -> Any:
        if (columns["x"] == 0).any():
            raise ZeroDivisionError
        return {"y": 1 / columns["x"]}

    batcher = Batcher(BatchLimits(size=4, wait=0.2, threads=1))
    given = [[1.0], [2.0, 4.0], [0.0], [5.0]]
    answers = [batcher.submit(inverse, {"x": np.array(x)}) for x in given]
    batcher.close()
    assert isinstance(answers[2].exception(), ZeroDivisionError)
    assert [answers[n].result()["y"].tolist() for n in (0, 1, 3)] == [[1.0], [0.5, 0.25], [0.2]]


def test_items_of_other_shapes_and_functions_are_not_mixed_and_the_queue_is_bounded() -> None:
    go, seen = threading.Event(), []

    def same(columns: Any) -> Any:
        go.wait(10)
        seen.append(columns["x"].shape)
        return columns

    batcher = Batcher(BatchLimits(size=8, wait=0, threads=1, waiting=4))
    first = batcher.submit(same, {"x": np.zeros([1, 1])})
    while not first.running():
        pass
    waiting = [batcher.submit(same, {"x": np.ones([1, size])}) for size in (2, 3, 2, 3)]
    with pytest.raises(QueueFull, match="4 requests wait already"):
        batcher.submit(same, {"x": np.zeros([1, 1])})
    assert waiting[3].cancel()
    go.set()
    batcher.close()
    assert seen == [(1, 1), (2, 2), (1, 3)]
    with pytest.raises(QueueFull, match="shutting down"):
        batcher.submit(same, {"x": np.zeros([1, 1])})


def test_a_function_that_does_not_end_is_given_up() -> None:
    go = threading.Event()
    batcher = Batcher(BatchLimits(wait=0, threads=2))
    answer = batcher.submit(lambda columns: {"y": columns["x"] + go.wait(10)}, {"x": np.zeros(1)})
    assert not batcher.close(0.05) and not answer.done()
    go.set()
    assert batcher.close(10) and answer.result()["y"].tolist() == [1]
