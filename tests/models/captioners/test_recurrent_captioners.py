"""Recurrent captioners: published sizes, initial weights, and attention."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.captioners.att2in import Att2in2
from models.captioners.fc import FC
from models.captioners.registry import build_captioner
from models.captioners.show_and_tell import RNN
from models.captioners.updown import UpDown
from models.layers import attention
from models.layers.attention import AdditiveAttention
from tests.models.small_captioners import SIZES, TOKENS, D, V, build, computing_in


def test_first_attention_is_from_the_mean_of_the_grid() -> None:
    model, inputs = build("attention_lstm")
    memory = model.encode(inputs)
    # The query of the first step is the mean of the grid.
    rows = memory["rows"].numpy()
    scores = np.einsum("blh,bh->bl", rows, rows.mean(1)) / np.sqrt(SIZES["units"])
    wanted = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.attention(memory, TOKENS)[:, 0], wanted, rtol=1e-4)
    lstm, inputs = build("lstm")
    with pytest.raises(ValueError, match="no attention"):
        lstm.attention(lstm.encode(inputs), TOKENS)


def test_pool_is_a_setting_of_lstm_and_rnn_only() -> None:
    sizes = {"vocabulary_size": V, "region_size": D, "global_size": None, "grid_cells": 4, **SIZES}
    with pytest.raises(ValueError, match=r"no setting pool .*pool='average'; only lstm, rnn have"):
        build_captioner("attention_lstm", pool="average", **sizes)
    with pytest.raises(ValueError, match="unknown pool 'max'; known: flatten, average"):
        RNN(vocabulary_size=V, feature_size=D, grid_cells=4, pool="max", **SIZES)


@pytest.mark.parametrize("name", ["fc", "att2in", "att2in2"])
def test_maxout_cells_start_as_two_linear_layers_of_pytorch(name: str) -> None:
    model, _ = build(name)
    of_words, of_states = SIZES["word_size"] ** -0.5, SIZES["units"] ** -0.5
    bounds = [of_words, of_words, of_states, of_states]
    for weights, bound in zip(model.cell.get_weights(), bounds, strict=True):
        assert 0.9 * bound < np.abs(weights).max() <= bound


# Spec self_critical_and_spatial 9, of 9,488 outputs: 13.40M, 14.45M and 52.13M.
@pytest.mark.parametrize(
    ("make", "sizes", "wanted"),
    [
        (FC, {}, 13_400_848),
        (Att2in2, {}, 14_451_985),
        (UpDown, {"units": 1_000, "word_size": 1_000, "attention_units": 512}, 52_125_025),
    ],
)
def test_parameters_count_as_published(make: Any, sizes: dict[str, int], wanted: int) -> None:
    model = make(vocabulary_size=9_488, feature_size=2_048, **sizes)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == wanted


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**31))
def test_additive_attention_is_the_written_formula(rows: int, hidden: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = AdditiveAttention(units=3)
    layer.build((None, None, 4), (None, 2))
    x, h = rng.normal(size=(2, rows + hidden, 4)), rng.normal(size=(2, 2))
    mask = np.repeat([[1.0] * rows + [0.0] * hidden], 2, 0)
    found = layer(
        tf.constant(h, tf.float32),
        layer.project(tf.constant(x, tf.float32)),
        tf.constant(mask, tf.float32),
    )
    wr, br, wq, bq, w, b = layer.get_weights()
    scores = (np.tanh(x @ wr + br + (h @ wq + bq)[:, None]) @ w)[..., 0] + b
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True) * mask
    np.testing.assert_allclose(found, weights / weights.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("kind", ["additive", "scaled dot"])
def test_gradients_of_attention_are_those_of_differences(kind: str) -> None:
    rng = np.random.default_rng(4)
    keras.utils.set_random_seed(0)
    with computing_in("float64"):
        layer = AdditiveAttention(units=4)
        layer.build((None, None, 3), (None, 3))
        # Two captions of each of two images.
        query, rows = (tf.constant(rng.normal(size=size)) for size in ((4, 3), (2, 5, 3)))

        def loss(query: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            if kind == "additive":
                weights = layer(query, layer.project(rows), None)
            else:
                weights = attention.scaled_dot(query, rows)
            return tf.reduce_sum(attention.average(rows, weights) ** 2)

        found, wanted = tf.test.compute_gradient(loss, [query, rows], delta=1e-3)
        for ours, theirs in zip(found, wanted, strict=True):
            # Attention weights are float32 by design, which limits the precision of differences.
            assert np.abs(ours).max() > 0.1
            np.testing.assert_allclose(ours, theirs, atol=2e-3)
