"""Dense layer whose matrix products can be intercepted by loops."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import keras
import tensorflow as tf

from models.layers import prepared_weights


@keras.saving.register_keras_serializable("r2m")
class Linear(keras.layers.Dense):
    """A dense layer that is faster than Keras' Dense in the steps of a loop.

    Shapes: float[..., I] -> float[..., O].

    Example:
        ```python
        recurrent_map = Linear(512, use_bias=False, name="recurrent_map")
        ```
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Applies the layer: float[..., I] -> float[..., O]."""
        products = _products.get()
        if products is not None:
            outputs = products.product(self, inputs)
        elif inputs.shape.rank == 2:
            outputs = prepared_weights.product(inputs, self.kernel)
            if self.bias is not None:
                outputs += tf.cast(self.bias, outputs.dtype)
        else:
            return super().call(inputs, training)
        return outputs if self.activation is None else self.activation(outputs)

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """Returns the kernel float[I, O] and, if any, the bias float[O], in the compute dtype."""
        variables = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return tuple(tf.cast(variable, self.compute_dtype) for variable in variables)


def torch_dense(units: int, fan_in: int, name: str, dtype: Any = None) -> Linear:
    """Returns a built dense layer with PyTorch's initialization: uniform in +-1/sqrt(fan-in).

    Args:
        units: O.
        fan_in: I.
        name: name of the layer.
        dtype: Keras dtype policy of the layer.
    """
    bound = fan_in**-0.5
    return _uniform_dense(units, fan_in, bound, bound, name, dtype)


def xavier_dense(units: int, fan_in: int, name: str, dtype: Any = None, parts: int = 1) -> Linear:
    """Returns a built dense layer with Xavier-uniform weights and PyTorch's bias.

    Args:
        units: O.
        fan_in: I.
        name: name of the layer.
        dtype: Keras dtype policy of the layer.
        parts: number of concatenated weight matrices, such as 3 for queries, keys and values; the
            bounds are those of one matrix, +-sqrt(6 / (I + O / parts)).
    """
    kernel, bias = math.sqrt(6.0 / (fan_in + units // parts)), fan_in**-0.5
    return _uniform_dense(units, fan_in, kernel, bias, name, dtype)


def _uniform_dense(
    units: int, fan_in: int, kernel: float, bias: float, name: str, dtype: Any
) -> Linear:
    """Returns a built dense layer whose weights are uniform in +-kernel and +-bias."""
    layer = Linear(
        units,
        kernel_initializer=keras.initializers.RandomUniform(-kernel, kernel),
        bias_initializer=keras.initializers.RandomUniform(-bias, bias),
        name=name,
        dtype=dtype,
    )
    layer.build((None, fan_in))
    return layer


class Interceptor(Protocol):
    """Object that computes the products of the `Linear` layers of a step."""

    def product(self, layer: Linear, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the affine map of `layer` to float[..., I]."""


_products: ContextVar[Interceptor | None] = ContextVar("products", default=None)


@contextlib.contextmanager
def intercepted(products: Interceptor) -> Iterator[None]:
    """Lets an interceptor compute the products of `Linear` layers called in this context."""
    token = _products.set(products)
    try:
        yield
    finally:
        _products.reset(token)
