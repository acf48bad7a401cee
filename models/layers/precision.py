"""Parts of a layer that mixed precision computes in float32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """Casts bfloat16 and float16 to float32, and leaves wider floats as they are."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x


def at_least_float32_policy(policy: Any) -> Any:
    """Returns float32 for policies that compute in 16 bits, and other policies as they are."""
    narrow = policy.compute_dtype in ("bfloat16", "float16")
    return keras.DTypePolicy("float32") if narrow else policy


def in_float32(step: Callable[..., tuple[tf.Tensor, ...]]) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Returns a step function that computes in float32 at least.

    TensorFlow's bfloat16 tanh and sigmoid take several times as long on CPUs as float32 ones.

    Args:
        step: a step of tensors, or None for some that are left out.

    Returns:
        The function; its outputs are in the dtype of its first tensor.
    """

    @functools.wraps(step)
    def run(first: tf.Tensor, *others: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
        given = (None if x is None else at_least_float32(x) for x in (first, *others))
        return tuple(tf.cast(x, first.dtype) for x in step(*given))

    return run
