"""Traces of a step of a loop, from which the loop's speed-ups find out what the step does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def trace(function: Callable[..., Any], *arguments: Any) -> Any:
    """Traces a function of nested tensors once, without running it or adding to the current graph.

    Args:
        function: of the arguments; it may use variables and outer tensors.
        *arguments: nested tensors or `tf.TensorSpec`s, whose batch size is left open.

    Returns:
        The concrete function: `graph` has its operations and what it captured, `structured_outputs`
        its nested outputs.
    """
    specs = tf.nest.map_structure(_spec, arguments)
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def _spec(tensor: Any) -> tf.TensorSpec:
    if not isinstance(tensor, tf.TensorSpec):
        tensor = tf.convert_to_tensor(tensor)
    return tf.TensorSpec(_any_batch(tensor), tensor.dtype)


def any_batch(loop_variables: Any) -> Any:
    """Returns shape invariants of a `tf.while_loop` with any batch size.

    Args:
        loop_variables: nested tensors (batch first, or scalars) and TensorArrays.

    Returns:
        The same structure of `tf.TensorShape`s.
    """

    def invariant(x: Any) -> tf.TensorShape:
        if isinstance(x, tf.TensorArray):
            return tf.TensorShape(None)
        return _any_batch(tf.convert_to_tensor(x))

    return tf.nest.map_structure(invariant, loop_variables)


def _any_batch(tensor: Any) -> tf.TensorShape:
    return tf.TensorShape([None, *tensor.shape[1:]] if tensor.shape.rank else [])
