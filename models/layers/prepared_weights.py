"""Pre-transposed, padded weights for matmuls inside decoding loops.

TensorFlow's matmul with `transpose_b` transposes the weights at every call. Moreover, if the stride
between the rows of a matrix is a power of two (512 words, 4 x 512 gates), the rows evict one
another from the cache while the matmul packs them: a few additional columns make the product up to
twice as fast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

from models.layers import tracing

# `_PADDING` columns are added if the number of columns is a multiple of `_ALIASED`.
_ALIASED, _PADDING = 256, 16


class _Weights(NamedTuple):
    """Weights that a step multiplies with.

    Attributes:
        variable: float[I, O], or float[O, I] if transposed.
        dtype: dtype of the product.
        transposed: whether the weights are transposed in the product.
    """

    variable: Any
    dtype: tf.DType
    transposed: bool


# (id of the variable, transposed) -> prepared weights.
_Prepared = Mapping[tuple[int, bool], tf.Tensor]
_prepared: ContextVar[_Prepared] = ContextVar("prepared", default=MappingProxyType({}))
_recorded: ContextVar[list[_Weights] | None] = ContextVar("recorded", default=None)


@contextlib.contextmanager
def prepare_weights(
    step: Callable[..., tuple[tf.Tensor, Any]], inputs: Any, state: Any, *others: Any
) -> Iterator[None]:
    """Prepares the weights of a step for a loop that is built within this context.

    Traces the step once to find the weights that it passes to `product`, and transposes and pads
    them before the loop. Does nothing in eager execution, where this costs more than it saves.

    Args:
        step: step of the loop: (inputs, state, *others) -> (output, next state).
        inputs: nested tensors or `tf.TensorSpec`s of one step.
        state: nested tensors, the state before a step.
        *others: further arguments of the step, nested tensors.

    Raises:
        ValueError: the step changes the structure, dtype or shape of the state.
    """
    if tf.executing_eagerly():
        yield
        return
    found: list[_Weights] = []
    recording = _recorded.set(found)
    try:
        tracing.trace_step(step, inputs, state, *others)
    finally:
        _recorded.reset(recording)
    ours = {(id(own.variable), own.transposed): _prepare(own) for own in _distinct(found)}
    token = _prepared.set({**_prepared.get(), **ours})
    try:
        yield
    finally:
        _prepared.reset(token)


def product(inputs: tf.Tensor, variable: Any, *, transposed: bool = False) -> tf.Tensor:
    """Multiplies float[N, I] by `variable` float[I, O], or by the transpose of float[O, I].

    Returns:
        float[N, O], in the dtype of the inputs.
    """
    recorded = _recorded.get()
    if recorded is not None:
        recorded.append(_Weights(variable, inputs.dtype, transposed))
    weights = _prepared.get().get((id(variable), transposed))
    if recorded is not None or weights is None or weights.dtype != inputs.dtype:
        return tf.matmul(inputs, tf.cast(variable, inputs.dtype), transpose_b=transposed)
    columns = variable.shape[0 if transposed else 1]
    outputs = tf.matmul(inputs, weights)
    return outputs if weights.shape[1] == columns else outputs[:, :columns]


def _distinct(found: list[_Weights]) -> list[_Weights]:
    return list({(id(own.variable), own.transposed): own for own in found}.values())


def _prepare(own: _Weights) -> tf.Tensor:
    weights = tf.cast(own.variable, own.dtype)
    return pad_columns(tf.transpose(weights) if own.transposed else weights)


def pad_columns(weights: tf.Tensor) -> tf.Tensor:
    """Appends columns of zeros to float[..., O] if O is a multiple of `_ALIASED`."""
    if weights.shape[-1] % _ALIASED:
        return weights
    return tf.pad(weights, [*([[0, 0]] * (weights.shape.rank - 1)), [0, _PADDING]])
