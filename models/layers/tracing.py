"""Traces of loop steps, for inspection of a step before its loop is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def trace_step(step: Callable[..., Any], inputs: Any, state: Any, *others: Any) -> Any:
    """Traces a step of a loop once, without running it or adding to the current graph.

    Args:
        step: (inputs, state, *others) -> (output, next state); it may use variables and outer
            tensors.
        inputs: nested tensors or `tf.TensorSpec`s. Their batch size is traced as unknown, like that
            of the state and of the other arguments.
        state: nested tensors, the state before the step.
        *others: further arguments, nested tensors.

    Returns:
        The concrete function: `graph` contains its operations and captures, `structured_outputs`
        its nested outputs.

    Raises:
        ValueError: the step changes the structure, dtype or shape of the state.
    """
    specs = tf.nest.map_structure(_spec, (inputs, state, *others))
    traced = tf.function(step, autograph=False).get_concrete_function(*specs)
    _check_state(specs[1], traced.structured_outputs[1])
    return traced


def _check_state(before: Any, after: Any) -> None:
    remedy = (
        "return the state that initial_state returns, with new values; allocate caches for "
        "max_length words in initial_state and write one position per step"
    )
    try:
        tf.nest.assert_same_structure(before, after)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the state of a captioner has another structure after a step: found {after}, "
            f"expected {before}; {remedy}"
        ) from error
    for old, new in zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True):
        if old.dtype != new.dtype or not old.shape.is_compatible_with(new.shape):
            raise ValueError(
                f"the state of a captioner changes in a step: found {new.dtype.name}{new.shape}, "
                f"expected {old.dtype.name}{old.shape}; {remedy}"
            )


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
