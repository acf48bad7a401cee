"""Golden values of the course (spec embedding_and_recurrent 4.1), and Keras' LSTM."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import attention, cells
from models.layers.cells import Cell
from tests.models.small_captioners import computing_in


def lin(low: float, high: float, *shape: int) -> np.ndarray:
    return np.linspace(low, high, int(np.prod(shape))).reshape(shape).astype(np.float32)


def with_weights(kind: str, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> Cell:
    cell = Cell(kind=kind, units=recurrent.shape[0], recurrent_bias=False)
    cell.build((None, kernel.shape[0]))
    cell.set_weights([kernel, bias, recurrent])
    return cell


def test_rnn_golden() -> None:
    x, h = lin(-0.4, 0.7, 3, 10), lin(-0.2, 0.5, 3, 4)
    cell = with_weights("rnn", lin(-0.1, 0.9, 10, 4), lin(-0.3, 0.7, 4, 4), lin(-0.2, 0.4, 4))
    (hidden,) = cell.step(cell.precompute(x), (h,))
    np.testing.assert_allclose(
        hidden[0], [-0.58172089, -0.50182032, -0.41232771, -0.31410098], rtol=1e-5
    )
    np.testing.assert_allclose(hidden[2, -1], 0.99854353, rtol=1e-6)


X, H, C = lin(-0.4, 1.2, 3, 4), lin(-0.3, 0.7, 3, 5), lin(-0.4, 0.9, 3, 5)
KERNEL, RECURRENT, BIAS = lin(-2.1, 1.3, 4, 20), lin(-0.7, 2.2, 5, 20), lin(0.3, 0.7, 20)


def test_lstm_golden() -> None:
    cell = with_weights("lstm", KERNEL, RECURRENT, BIAS)
    hidden, state = cell.step(cell.precompute(X), (H, C))
    np.testing.assert_allclose(
        hidden[0], [0.24635157, 0.28610883, 0.32240467, 0.35525807, 0.38474904], rtol=1e-5
    )
    np.testing.assert_allclose(state[2, -1], 1.42395676, rtol=1e-6)


def test_attention_lstm_golden() -> None:
    cell = with_weights("lstm", KERNEL, RECURRENT, BIAS)
    context = lin(0.6, 1.8, 3, 5) @ lin(1.3, 4.2, 5, 20)
    hidden, state = cell.step(cell.precompute(X) + context, (H, C))
    np.testing.assert_allclose(
        hidden[0], [0.53704256, 0.59980774, 0.6559682, 0.70569729, 0.74932626], rtol=1e-5
    )
    np.testing.assert_allclose(state[2, -1], 1.9, rtol=1e-6)


def test_attention_golden() -> None:
    grid = lin(-0.4, 1.8, 2, 5, 4, 4).reshape(2, 5, 16).transpose(0, 2, 1)
    weights = attention.scaled_dot(tf.constant(lin(-0.4, 0.6, 2, 5)), tf.constant(grid))
    context = attention.average(tf.constant(grid), weights)
    np.testing.assert_allclose(
        context[0], [-0.29784344, -0.07645979, 0.14492386, 0.36630751, 0.58769115], rtol=1e-5
    )
    maps = weights.numpy().reshape(2, 4, 4)
    np.testing.assert_allclose([maps[0, 0, 0], maps[1, 3, 3]], [0.06511126, 0.06812722], rtol=1e-6)


def test_keras_lstm_is_the_same_with_its_blocks_in_another_order() -> None:
    rng = np.random.default_rng(0)
    cell = Cell(kind="lstm", units=6)
    cell.build((None, 5))
    kernel, input_bias, recurrent, recurrent_bias = cell.get_weights()
    # Ours: i, f, o, g. Keras': i, f, g, o.
    order = np.concatenate([np.arange(12), np.arange(18, 24), np.arange(12, 18)])
    theirs = keras.layers.LSTM(6, return_sequences=True, unit_forget_bias=False)
    theirs.build((None, None, 5))
    theirs.set_weights(
        [kernel[:, order], recurrent[:, order], (input_bias + recurrent_bias)[order]]
    )
    x = rng.normal(size=(2, 7, 5)).astype(np.float32)
    state, hidden = cell.initial_state(2), []
    for step in range(7):
        state = cell.step(cell.precompute(x[:, step]), state)
        hidden.append(state[0])
    np.testing.assert_allclose(np.stack(hidden, 1), theirs(x), atol=1e-6)


def test_maxout_is_the_written_formula() -> None:
    rng = np.random.default_rng(1)
    sums, c, v = (rng.normal(size=(3, n)) for n in (20, 4, 8))
    hidden, cell = cells.maxout_step(*map(tf.constant, (sums, c, v)))
    i, f, o = (1 / (1 + np.exp(-sums[:, 4 * n : 4 * n + 4])) for n in range(3))
    halves = sums[:, 12:] + v
    wanted = f * c + i * np.maximum(halves[:, :4], halves[:, 4:])
    np.testing.assert_allclose(cell, wanted, rtol=1e-12)
    np.testing.assert_allclose(hidden, o * np.tanh(wanted), rtol=1e-12)


@pytest.mark.parametrize(
    ("step", "columns"),
    [
        (cells.rnn_step, [4]),
        (cells.gru_step, [12, 12, 4]),
        (cells.lstm_step, [16, 4]),
        (cells.maxout_step, [20, 4, 8]),
    ],
)
def test_steps_of_bfloat16_round_only_their_inputs_and_outputs(
    step: Any, columns: list[int]
) -> None:
    rng = np.random.default_rng(3)
    narrow = [tf.cast(rng.normal(size=(5, n)), tf.bfloat16) for n in columns]
    wanted = step(*(tf.cast(x, tf.float32) for x in narrow))
    for found, exact in zip(step(*narrow), wanted, strict=True):
        assert found.dtype == tf.bfloat16
        np.testing.assert_array_equal(found, tf.cast(exact, tf.bfloat16))


@pytest.mark.parametrize("kind", ["rnn", "lstm", "maxout"])
def test_gradients_are_those_of_differences(kind: str) -> None:
    rng = np.random.default_rng(2)
    with computing_in("float64"):
        cell = Cell(kind=kind, units=3)
        cell.build((None, 2))
        inputs = [tf.constant(rng.normal(size=(2, n))) for n in (2, 3, 3)]

        def loss(x: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
            state = (h,) if kind == "rnn" else (h, c)
            for _ in range(2):
                state = cell.step(cell.precompute(x), state)
            return tf.add_n([tf.reduce_sum(part**2) for part in state])

        found, wanted = tf.test.compute_gradient(loss, inputs, delta=1e-5)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "maxout"])
def test_starting_weights_are_as_in_pytorch(kind: str) -> None:
    """Cells are uniform in +-1/sqrt(H); the maxout cell consists of linear layers, by fan-in."""
    keras.utils.set_random_seed(0)
    cell = Cell(kind=kind, units=100)
    cell.build((None, 16))
    of_inputs = 0.25 if kind == "maxout" else 0.1
    for weights, bound in zip(cell.get_weights(), [of_inputs] * 2 + [0.1] * 2, strict=True):
        assert 0.9 * bound < np.abs(weights).max() <= bound


def test_config_round_trip() -> None:
    cell = Cell(kind="maxout", units=3, bias_initializer="zeros", recurrent_bias=False)
    again = Cell.from_config(cell.get_config())
    for one in (cell, again):
        one.build((None, 2))
    assert [w.shape for w in again.get_weights()] == [w.shape for w in cell.get_weights()]
    assert not again.get_weights()[1].any()
