"""Share of a training step of up-down that float32 matrix products alone would take.

    pytest tests/benchmarks/test_gemm_share.py -s

A step at the published size, forward, backward, clipping and Adam included, takes turns with a bare
`tf.matmul` of its largest product, the softmax layer's, on the same threads. The share is

    (operations of the step's products / operations per second of the bare product) / time of a step

once by wall time, and once by processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import captioner_data
import captioner_ways as ways_to
import numpy as np
import pytest
import tensorflow as tf
from captioner_data import CAPTIONS, IMAGES, STEPS, VOCABULARY

from r2m.configuration.training_fields import PRECISIONS

UNITS, FEATURES, REGIONS = 512, 2_048, 36
TURNS = 1 + 10  # the first compiles
PRODUCTS = 8

pytestmark = pytest.mark.timeout(600)


def layer_operations(words: int) -> Iterator[tuple[str, int]]:
    """Yields floating-point operations of each layer's product on the way forward.

    Args:
        words: of all captions of a batch.
    """

    def product(rows: int, *sizes: int) -> int:
        return 2 * rows * sum(a * b for a, b in pairwise(sizes))

    yield "row_map", product(IMAGES * REGIONS, FEATURES, UNITS)
    yield "global_map", product(IMAGES, FEATURES, UNITS)
    yield "image_share", product(IMAGES, UNITS, 4 * UNITS)
    yield "attention", product(IMAGES * REGIONS, UNITS, UNITS)  # of rows
    yield "attention", product(words, UNITS, UNITS)  # of queries
    yield "attention", 2 * product(words * REGIONS, UNITS, 1)  # scores and averages
    yield "attention_cell", product(words, 3 * UNITS, 4 * UNITS)  # of word, h and h_language
    yield "language_cell", product(words, 3 * UNITS, 4 * UNITS)  # of average, h_attention and h
    yield "word_output", product(words, UNITS, VOCABULARY)


def step_operations(words: int) -> int:
    """Returns the operations of all products of a step, gradients included.

    A product has a gradient of its inputs and one of its weights, of as many operations each; the
    gradient of the regions is not computed.
    """
    from_regions = ("row_map", "global_map")
    return sum(
        (2 if layer in from_regions else 3) * operations
        for layer, operations in layer_operations(words)
    )


def seconds(work: Callable[[], object]) -> np.ndarray:
    """Returns wall and processor time of some work."""
    before = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - before


@pytest.mark.parametrize("dtypes", PRECISIONS)
def test_share_of_a_training_step(dtypes: str) -> None:
    train = ways_to.training_by_the_engine("updown", dtypes=dtypes)
    words = np.mean([captioner_data.batch(seed)[2].sum() for seed in range(6)])
    rows = tf.random.normal([round(words), UNITS])
    weights = tf.random.normal([UNITS, VOCABULARY])
    multiply = tf.function(lambda: tf.matmul(rows, weights), autograph=False)

    def products() -> None:
        for _ in range(PRODUCTS):
            multiply()

    found = np.array([[seconds(products), seconds(lambda: train(0))] for _ in range(TURNS)])
    bare, step = np.median(found[1:], axis=0)
    rates = PRODUCTS * 2 * round(words) * UNITS * VOCABULARY / bare
    step = step / STEPS
    for kind, rate, taken in zip(("wall", "processor"), rates, step, strict=True):
        share = step_operations(round(words)) / rate / taken
        print(
            f"\nup-down in {dtypes} by {kind} time: float32 products alone {rate / 1e9:.0f} "
            f"Gflop/s, a step {1e3 * taken:.0f} ms, {IMAGES * CAPTIONS / taken:.1f} captions/s, "
            f"{share:.0%} of the products' limit",
            end="",
        )
