"""Weights of an exported model in fewer bits: half precision, or 8-bit integers.

Matrices are stored compactly and converted when a signature runs; computations, biases and
statistics stay in float32.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from r2m.serving.signatures import ServedModel, Signature, Tensors, signature_function

WeightsDtype = Literal["float32", "float16", "bfloat16", "int8"]
WEIGHTS_DTYPES: tuple[str, ...] = get_args(WeightsDtype)
# Smaller variables save nothing.
_LEAST_SIZE = 1024
_LARGEST_INT8 = 127


def compact_weights(served: ServedModel, dtype: WeightsDtype) -> ServedModel:
    """Returns a model whose signatures read compact copies of its matrices.

    Args:
        served: model with float32 weights.
        dtype: `float32` changes nothing; `int8` has a scale per output channel, the last dimension.
    """
    if dtype == "float32":
        return served
    variables = {id(v): v for network in served.networks for v in network.variables}
    copies = [
        (variable, _Copy(variable.numpy(), dtype))
        for variable in variables.values()
        if len(variable.shape) > 1 and np.prod(variable.shape) >= _LEAST_SIZE
    ]
    # A signature with two names remains one function.
    functions: dict[int, Any] = {}
    signatures = {}
    for name, signature in served.signatures.items():
        function = signature.function
        reading = functions.setdefault(id(function), _reading(function, copies))
        signatures[name] = Signature(reading, signature.example)
    return served._replace(signatures=signatures)


class _Copy(tf.Module):
    """A compact copy of a matrix."""

    def __init__(self, value: np.ndarray, dtype: str) -> None:
        super().__init__()
        self._scale = None
        if dtype == "int8":
            # The scale of a channel of zeros does not matter.
            largest = np.abs(value).max(axis=tuple(range(value.ndim - 1)))
            scale = np.where(largest > 0, largest, 1).astype(np.float32) / _LARGEST_INT8
            self._scale = tf.Variable(scale, trainable=False)
            value = np.rint(value / scale)
        self._stored = tf.Variable(tf.cast(value, dtype), trainable=False)

    def value(self) -> tf.Tensor:
        """Returns the matrix, float32."""
        value = tf.cast(self._stored, tf.float32)
        return value if self._scale is None else value * self._scale


def _reading(function: Any, copies: list[tuple[Any, _Copy]]) -> Any:
    """Returns a function like `function` that reads copies in place of variables."""
    body = function.python_function

    def served(*tensors: tf.Tensor) -> Tensors:
        mapping = [(variable, copy.value()) for variable, copy in copies]
        with keras.StatelessScope(state_mapping=mapping):
            outputs: Tensors = body(*tensors)
        return outputs

    return signature_function(served, function.input_signature)
