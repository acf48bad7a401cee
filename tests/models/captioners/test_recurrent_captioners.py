"""The recurrent captioners: one interface, published sizes, padding that is not seen."""

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
from tests.models.small_captioners import MODELS, SIZES, TOKENS, D, V, build, computing_in, images

REGIONAL = ["att2in2", "att2in", "updown_without_global"]


@pytest.mark.parametrize("name", MODELS)
def test_all_at_once_is_step_by_step(name: str) -> None:
    model, inputs = build(name)
    memory = model.encode(inputs)
    hidden = model.teacher_forced(memory, TOKENS)
    state = model.initial_state(memory, 6)
    for step in range(TOKENS.shape[1]):
        output, state = model.step(TOKENS[:, step], state, memory)
        np.testing.assert_allclose(output, hidden[:, step], atol=1e-6)
    logits = model.logits(hidden[:, 0])
    weights, bias = model.output_layer
    np.testing.assert_allclose(logits, hidden[:, 0] @ tf.transpose(weights) + bias, atol=1e-5)
    assert logits.shape == (3, V) and logits.dtype == tf.float32


@pytest.mark.parametrize("name", MODELS)
def test_captions_of_an_image_share_what_was_made_of_it(name: str) -> None:
    """Two captions an image, side by side, equal those of two images that look alike."""
    model, inputs = build(name)
    tokens = tf.concat([TOKENS, TOKENS[::-1]], axis=0)
    lengths = tf.constant([6, 2, 3, 0, 4, 6])
    memory = model.encode(inputs)
    alone = tf.nest.map_structure(lambda x: tf.repeat(x, 2, axis=0), memory)
    shared, apart = (
        model.teacher_forced(given, tokens, lengths=lengths) for given in (memory, alone)
    )
    assert shared.shape[0] == 6
    np.testing.assert_allclose(shared, apart, atol=1e-6)
    state = model.initial_state(alone, 6)
    shared, apart = (model.step(tokens[:, 0], state, given)[0] for given in (memory, alone))
    np.testing.assert_allclose(shared, apart, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name: str) -> None:
    model, inputs = build(name)
    with tf.GradientTape() as tape:
        hidden = model.teacher_forced(model.encode(inputs, training=True), TOKENS, training=True)
        loss = tf.reduce_sum(model.logits(tf.reshape(hidden, [-1, SIZES["units"]])) ** 2)
    variables = [v.value for v in model.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        # Softmax does not see what is added to all scores.
        if "attention/score/bias" not in variable.name:
            assert gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_for_training_only(name: str) -> None:
    model, inputs = build(name)
    calm = [model.teacher_forced(model.encode(inputs), TOKENS) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    if model.output_dropout.rate:
        wild = model.teacher_forced(model.encode(inputs, training=True), TOKENS, training=True)
        assert np.abs(wild - calm[0]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_config_round_trip(name: str) -> None:
    model, inputs = build(name)
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        *(m.teacher_forced(m.encode(inputs), TOKENS) for m in (model, again))
    )


@pytest.mark.parametrize("name", REGIONAL)
def test_padded_regions_are_not_seen(name: str) -> None:
    model, _ = build(name)
    short = {"regions": images(3, rows=2)["regions"]}
    noise = tf.fill([3, 3, D], 7.0)
    padded = {
        "regions": tf.concat([short["regions"], noise], axis=1),
        "region_lengths": tf.constant([2, 2, 2]),
    }
    results = [model.teacher_forced(model.encode(x), TOKENS) for x in (short, padded)]
    np.testing.assert_allclose(*results, atol=1e-6)
    weights = model.attention(model.encode(padded), TOKENS)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), np.ones((3, 6)), rtol=1e-5)
    assert np.abs(weights[:, :, 2:]).max() == 0


def test_attention_is_shown_only_where_there_is_any() -> None:
    model, inputs = build("attention_lstm")
    memory = model.encode(inputs)
    # The first look is from the mean of the grid.
    rows = memory["rows"].numpy()
    scores = np.einsum("blh,bh->bl", rows, rows.mean(1)) / np.sqrt(SIZES["units"])
    wanted = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.attention(memory, TOKENS)[:, 0], wanted, rtol=1e-4)
    lstm, inputs = build("lstm")
    with pytest.raises(ValueError, match="no attention"):
        lstm.attention(lstm.encode(inputs), TOKENS)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_follows_float32(name: str) -> None:
    """Padded rows included; activations are rounded to 8 bits."""
    plain, inputs = build(name)
    with computing_in("mixed_bfloat16"):
        half, _ = build(name)
    half.set_weights(plain.get_weights())
    if name in [*REGIONAL, "updown"]:
        inputs["region_lengths"] = tf.constant([4, 1, 3])
    lengths = tf.constant([6, 2, 4])
    wanted = plain.teacher_forced(plain.encode(inputs), TOKENS, lengths=lengths)
    variables = [v.value for v in half.trainable_variables]
    with tf.GradientTape() as tape:
        hidden = half.teacher_forced(half.encode(inputs), TOKENS, lengths=lengths)
        loss = tf.reduce_sum(half.logits(tf.reshape(hidden, [-1, SIZES["units"]])) ** 2)
    assert hidden.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(hidden, tf.float32), wanted, atol=0.02)
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_a_pool_is_of_those_that_have_one() -> None:
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
            # The weights are of single precision by design, and so are their differences.
            assert np.abs(ours).max() > 0.1
            np.testing.assert_allclose(ours, theirs, atol=2e-3)
