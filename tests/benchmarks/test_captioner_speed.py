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

from collections.abc import Callable
from functools import partial

import captioner_ways as ways_to
import numpy as np
import pytest
from turns import TORCH_PYTHON, Way, apart, by_script
from turns import compare as compare_ways

pytestmark = pytest.mark.timeout(3600)


def torch_models(what: str, name: str) -> dict[str, str]:
    """Way -> model of `torch_captioners.py`."""
    found = {"plain PyTorch": name}
    if (what, name) == ("search", "transformer"):
        found["PyTorch, stops"] = "transformer_stopping"
        found["PyTorch with a cache, stops"] = "transformer_cached"
    return found


def compare(name: str, what: str, ways: dict[str, Callable[[], Way]]) -> None:
    started = {way: partial(apart, start) for way, start in ways.items()}
    if TORCH_PYTHON:
        for way, model in torch_models(what, name).items():
            started[way] = partial(by_script, "torch_captioners.py", what, model)
    compare_ways(f"{name}, {what}", started)


@pytest.mark.parametrize("name", ["updown", "att2in2", "transformer"])
def test_training(name: str) -> None:
    ways = {
        "engine": partial(ways_to.training_by_the_engine, name),
        "engine, two halves side by side": partial(ways_to.training_by_the_engine, name, parts=2),
        "engine, mixed_bfloat16": partial(
            ways_to.training_by_the_engine, name, dtypes="mixed_bfloat16"
        ),
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
        "together, mixed_bfloat16": partial(
            ways_to.searching_together, name, dtypes="mixed_bfloat16"
        ),
        "one by one": partial(alone, stops=False),
        "one by one, stops": partial(alone, stops=True),
    }
    compare(name, "search", ways)
