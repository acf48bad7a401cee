"""Sublayers of transformers: norms against NumPy, dropout, groups of rows, attention."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import grouped_rows
from models.layers.dropout import Dropout
from models.layers.normalization import build_norm
from models.layers.sinusoids import sinusoid
from models.layers.transformer import FeedForward, SelfAttention


def layer(x: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-5)


def unbiased(x: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    size = x.shape[-1]
    return (x - mean) / (tf.sqrt(variance * size / (size - 1)) + 1e-6)


def rms(x: tf.Tensor) -> tf.Tensor:
    return x / (tf.sqrt(tf.reduce_mean(x**2, -1, keepdims=True)) + 1e-8)


@pytest.mark.parametrize("plain", [layer, unbiased, rms])
def test_norms_and_their_gradients_are_their_formulas(plain: Any) -> None:
    rng = np.random.default_rng(0)
    norm = build_norm(plain.__name__, 7, "norm")
    for weight in norm.weights:
        weight.assign(rng.normal(size=7))
    x, upstream = (tf.constant(rng.normal(1, 3, (4, 7)), tf.float32) for _ in range(2))
    sources = [x, *(weight.value for weight in norm.weights)]
    found = []
    for run in (norm, lambda x: sum(norm.weights[1:], plain(x) * norm.weights[0])):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = run(x)
            loss = tf.reduce_sum(outputs * upstream)
        found.append([outputs, *tape.gradient(loss, sources)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["unbiased", "rms"])
def test_norms_of_constant_rows_are_finite(kind: Any) -> None:
    norm, x = build_norm(kind, 3, "norm"), tf.zeros([2, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = norm(x)
    assert not np.any(outputs)
    assert np.isfinite(tape.gradient(outputs, x)).all()


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown norm 'batch'; known: layer, unbiased, rms"):
        build_norm("batch", 3, "norm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown activation 'elu'; known: relu, gelu"):
        FeedForward(units=3, inner_units=4, activation="elu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"units \(6\) must be divisible by heads \(4\)"):
        SelfAttention(units=6, heads=4)


def test_dropout_keeps_the_mean_and_its_gradient_has_the_mask() -> None:
    keras.utils.set_random_seed(0)
    dropout, x = Dropout(0.3), tf.ones([501, 333])
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = dropout(x, training=True)
    dropped = outputs.numpy() == 0
    assert abs(dropped.mean() - 0.3) < 0.005
    np.testing.assert_allclose(outputs.numpy()[~dropped], 1 / 0.7, rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(outputs, x), outputs)
    # Rows, columns and draws are independent.
    for axis, entries in ((0, 501), (1, 333)):
        spread = dropped.mean(axis).std() / (0.3 * 0.7 / entries) ** 0.5
        assert 0.9 < spread < 1.1
    again = dropout(x, training=True).numpy() == 0
    assert abs((again & dropped).mean() - 0.09) < 0.005
    for one, other in ((dropped[:, 1:], dropped[:, :-1]), (dropped[1:], dropped[:-1])):
        assert abs((one & other).mean() - 0.09) < 0.005
    assert dropout(x) is x and dropout(tf.cast(x, tf.bfloat16), training=True).dtype == tf.bfloat16


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 3))
def test_rows_go_to_groups_and_back(lengths: list[int], heads: int, parts: int) -> None:
    """Padding and unpadding of rows and of heads, and their gradients."""
    groups, count = grouped_rows.packed(tf.constant(lengths), tf.constant(4)), sum(lengths)
    size = 2 * heads
    rows = tf.random.stateless_normal([count, parts * size], [1, 2])
    wanted = np.zeros((len(lengths), 4, parts * size), np.float32)
    wanted[np.arange(4) < np.array(lengths)[:, None]] = rows
    spread = groups.pad(rows)
    np.testing.assert_array_equal(spread, wanted)
    np.testing.assert_array_equal(groups.unpad(spread), rows)
    split = groups.split_heads(rows, heads, parts)
    by_head = wanted.reshape(len(lengths), 4, parts, heads, 2).transpose(2, 0, 3, 1, 4)
    np.testing.assert_array_equal(tf.stack(split), by_head)
    np.testing.assert_array_equal(groups.merge_heads(split[0]), rows[:, :size])
    full = grouped_rows.full(*map(tf.constant, (len(lengths), 4)))
    np.testing.assert_array_equal(full.split_heads(full.unpad(spread), heads, parts), by_head)
    with tf.GradientTape() as tape:
        tape.watch([rows, spread])
        forth = tf.reduce_sum(tf.stack(groups.split_heads(rows, heads, parts)) ** 2)
        back = tf.reduce_sum(groups.unpad(spread) ** 2)
    for_rows, for_spread = tape.gradient([forth, back], [rows, spread])
    np.testing.assert_allclose(for_rows, 2 * rows, rtol=1e-6)
    np.testing.assert_allclose(for_spread, 2 * wanted, rtol=1e-6)


def test_scores_and_their_bias_are_float32_under_half_precision() -> None:
    """The biases of two keys differ by less than the precision of bfloat16."""
    attention = SelfAttention(units=4, heads=1, dtype="mixed_bfloat16")
    attention.build((None, 4))
    bias = tf.constant([[[[300.0, 300.7]]]])
    groups = grouped_rows.full(tf.constant(1), tf.constant(2))
    rows = tf.constant([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    for weight in attention.weights:
        weight.assign(tf.zeros_like(weight))
    for part in (attention.qkv_map.kernel[:, 8:],):
        attention.qkv_map.kernel.assign(tf.concat([tf.zeros([4, 8]), tf.eye(4) + 0 * part], axis=1))
    attention.output_map.kernel.assign(tf.eye(4))
    found = tf.cast(attention(rows, groups, bias), tf.float32)
    np.testing.assert_allclose(found[0, :2], tf.nn.softmax([0.0, 0.7]), atol=4e-3)


def test_sinusoid() -> None:
    found = sinusoid(tf.constant([0, 3]), 6).numpy()
    np.testing.assert_allclose(found[0], [0, 1, 0, 1, 0, 1], atol=1e-6)
    angles = 3 * 10_000.0 ** (-np.array([0, 2, 4]) / 6)
    np.testing.assert_allclose(found[1, ::2], np.sin(angles), atol=1e-6)
    np.testing.assert_allclose(found[1, 1::2], np.cos(angles), atol=1e-6)
