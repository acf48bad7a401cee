"""Helpers for the parts of a layer that are float32 under mixed precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """Casts bfloat16 and float16 to float32; returns wider floats unchanged."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x


def at_least_float32_policy(policy: Any) -> Any:
    """Returns policy float32 for policies that compute in 16 bits; others are unchanged."""
    narrow = policy.compute_dtype in ("bfloat16", "float16")
    return keras.DTypePolicy("float32") if narrow else policy


def in_float32(step: Callable[..., tuple[tf.Tensor, ...]]) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Returns a step function that computes in at least float32.

    On CPUs, TensorFlow's tanh and sigmoid take several times as long in bfloat16 as in float32.

    Args:
        step: function of tensors; optional tensors may be None.

    Returns:
        The function; its outputs have the dtype of its first argument.
    """

    @functools.wraps(step)
    def run(first: tf.Tensor, *others: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
        given = (None if x is None else at_least_float32(x) for x in (first, *others))
        return tuple(tf.cast(x, first.dtype) for x in step(*given))

    return run
