"""Captioners at their published sizes, against implementations that go step by step.

    pytest tests/benchmarks/test_captioner_speed.py -s

With R2M_TORCH_PYTHON=PYTHON, a Python that has PyTorch, also against plain PyTorch.

Training through the engine against a loop over all padded positions with the logits inside; beam
search over 5 hypotheses for all images at once in the graph against one image at a time, without
the reading of records and the writing of words. Each way is a process of its own, and they take
turns. Ours searches two halves of the images side by side, a core each; all else has the threads
that TensorFlow gives it, unless it is said otherwise. All captions end after as many words as
COCO's, and all hypotheses of an image at one step, which saves ours and the one that stops the
steps behind it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import captioner_ways as ways_to
import numpy as np
import pytest

TURNS = 1 + 8  # the first compiles
TORCH_PYTHON = os.environ.get("R2M_TORCH_PYTHON")

pytestmark = pytest.mark.timeout(3600)


@contextlib.contextmanager
def apart(way: Callable[[], ways_to.Way]) -> Iterator[Callable[[int], float]]:
    """A way in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=ways_to.serve, args=(way, there), daemon=True)
    process.start()
    there.close()

    def take(turn: int) -> float:
        here.send(turn)
        found: float = here.recv()
        return found

    try:
        yield take
        here.send(None)
        process.join()
    finally:
        process.kill()


@contextlib.contextmanager
def plain_torch(what: str, name: str) -> Iterator[Callable[[int], float]]:
    """The same in PyTorch."""
    script = Path(__file__).with_name("torch_captioners.py")
    assert TORCH_PYTHON is not None
    with subprocess.Popen(
        [TORCH_PYTHON, str(script), what, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def take(turn: int) -> float:
            print(turn, file=orders, flush=True)
            return float(answers.readline())

        yield take
        orders.close()


def torch_models(what: str, name: str) -> dict[str, str]:
    """Way -> model of `torch_captioners.py`."""
    found = {"plain PyTorch": name}
    if (what, name) == ("search", "transformer"):
        found["PyTorch, stops"] = "transformer_stopping"
        found["PyTorch with a cache, stops"] = "transformer_cached"
    return found


def compare(name: str, what: str, ways: dict[str, Callable[[], ways_to.Way]]) -> None:
    with contextlib.ExitStack() as stack:
        takes = {way: stack.enter_context(apart(start)) for way, start in ways.items()}
        for way, model in torch_models(what, name).items() if TORCH_PYTHON else ():
            takes[way] = stack.enter_context(plain_torch(what, model))
        found: dict[str, list[float]] = {way: [] for way in takes}
        for turn in range(TURNS):
            for way, take in takes.items():
                found[way].append(take(turn))
    speeds = {way: np.array(each[1:]) for way, each in found.items()}
    ours = np.median(next(iter(speeds.values())))
    for way, each in speeds.items():
        middle = np.median(each)
        print(
            f"\n{name}, {what}, {way}: median {middle:.1f}/s, best {each.max():.1f}/s; ours is "
            f"{ours / middle:.2f} times as fast",
            end="",
        )


@pytest.mark.parametrize("name", ["updown", "att2in2", "transformer"])
def test_training(name: str) -> None:
    ways = {
        "engine": partial(ways_to.training_by_the_engine, name),
        "engine, two halves side by side": partial(ways_to.training_by_the_engine, name, parts=2),
    }
    if name != "transformer":  # one that goes step by step is no transformer that anybody trains
        plain = partial(ways_to.training_step_by_step, name)
        ways["step by step"] = partial(plain, keras_adam=True)
        ways["the same, our Adam"] = partial(plain, keras_adam=False)
    compare(name, "training", ways)


@pytest.mark.parametrize("name", ["updown", "att2in2"])
def test_both_losses_are_the_same(name: str) -> None:
    model = ways_to.build(name, units=32, dropout=0.0)
    (term,) = ways_to.Ours(model).loss(ways_to.batch(0), training=True).values()
    np.testing.assert_allclose(
        term.total / term.normalizer, ways_to.step_by_step(model, ways_to.batch(0)), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["updown", "att2in2", "transformer"])
def test_beam_search(name: str) -> None:
    alone = partial(ways_to.searching_one_by_one, name)
    ways = {
        "together": partial(ways_to.searching_together, name),
        "one by one": partial(alone, stops=False),
        "one by one, stops": partial(alone, stops=True),
    }
    compare(name, "search", ways)
