"""Captioners at their published sizes, against implementations that go step by step.

    pytest tests/benchmarks/test_captioner_speed.py -s

With R2M_TORCH_PYTHON=PYTHON, a Python that has PyTorch, also against plain PyTorch.

Training through the engine is compared with a loop over all padded positions that computes logits
inside. Beam search with 5 hypotheses for all images at once in the graph is compared with a search
of one image at a time; neither reads records or writes words. Each implementation runs in its own
process, and the processes take turns. Our search runs two halves of the images in parallel, one
core each; everything else has TensorFlow's default threads unless stated otherwise. Captions are as
long as those of COCO, and all hypotheses of an image end at the same step. Our search and the one
that stops early omit the steps after it.
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
    if name != "transformer":  # transformers are not trained step by step
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
