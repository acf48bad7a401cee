"""Weights as the products of a loop take them fastest, made so once, before the loop.

TensorFlow's product with transposed weights transposes them first, every time. And where the rows
of a matrix lie a power of two apart in memory (512 words, 4 x 512 gates), they evict one another
from the cache while it is packed: a few columns more make the product up to twice as fast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

# Columns whose number is a multiple of the first get as many more as the second says.
_ALIASED, _MORE = 256, 16


class LoopWeights(NamedTuple):
    """Weights that a step of a captioner multiplies with.

    Attributes:
        variable: float[I, O], or float[O, I] if transposed.
        dtype: of the product.
        transposed: whether the product is with their transpose.
    """

    variable: Any
    dtype: str
    transposed: bool = False


_ready: ContextVar[Mapping[int, tf.Tensor]] = ContextVar("ready", default=MappingProxyType({}))


@contextlib.contextmanager
def ready(weights: Iterable[LoopWeights]) -> Iterator[None]:
    """Makes weights ready; while in charge, `product` uses them so. Graphs only: eagerly it costs.

    Args:
        weights: of the step of a loop that is built in here.
    """
    found = {id(own.variable): _made_ready(own) for own in weights}
    token = _ready.set({**_ready.get(), **found})
    try:
        yield
    finally:
        _ready.reset(token)


def product(inputs: tf.Tensor, variable: Any, *, transposed: bool = False) -> tf.Tensor:
    """float[N, I] times `variable` float[I, O], or the transpose of float[O, I] -> float[N, O]."""
    found = _ready.get().get(id(variable))
    if found is None:
        return tf.matmul(inputs, tf.cast(variable, inputs.dtype), transpose_b=transposed)
    columns = variable.shape[0 if transposed else 1]
    outputs = tf.matmul(inputs, found)
    return outputs if found.shape[1] == columns else outputs[:, :columns]


def _made_ready(own: LoopWeights) -> tf.Tensor:
    weights = tf.cast(own.variable, own.dtype)
    if own.transposed:
        weights = tf.transpose(weights)
    more = 0 if weights.shape[1] % _ALIASED else _MORE
    return tf.pad(weights, [[0, 0], [0, more]]) if more else weights
