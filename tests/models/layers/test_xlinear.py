"""X-linear attention: parity with the published form, chunks, captions that share an image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import grouped_rows, pair_scores
from models.layers.dropout import dropout_mask
from models.layers.transformer import mask_bias
from models.layers.xlinear import XLinearAttention
from tests.models.layers.published_xlinear import published

N, B, T, L, D, M = 6, 3, 4, 5, 8, 7
MASK = tf.constant([[1.0, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])


def layer(**arguments: Any) -> XLinearAttention:
    keras.utils.set_random_seed(0)
    built = XLinearAttention(units=D, hidden_units=M, **arguments)
    built.build((None, D))
    for weight in built.weights:  # biases and scales that are not 0 and 1
        if weight.dtype == "float32":
            weight.assign(weight + 0.1 * np.random.default_rng(1).normal(size=weight.shape))
    return built


def attend(
    own: XLinearAttention, words: tf.Tensor, regions: tf.Tensor, mask: Any = None, **kwargs: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns outputs [N, T, D] and weights [N, T, L], for words [N, T, D], regions [B, L, D]."""
    captions, steps, units = words.shape
    groups = grouped_rows.full(tf.constant(B), tf.constant(L))
    projected = own.project(tf.reshape(regions, [-1, units]), groups)
    bias = None if mask is None else mask_bias(mask > 0)[:, None, None]
    images = grouped_rows.full(tf.constant(B), captions // B * steps)
    outputs, weights = own(tf.reshape(words, [-1, units]), images, projected, bias, **kwargs)
    return tf.reshape(outputs, words.shape), tf.reshape(weights, [captions, steps, L])


def given(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(seed)
    return tuple(  # type: ignore[return-value]
        tf.constant(rng.normal(size=shape), tf.float32) for shape in ((N, T, D), (B, L, D))
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["all rows", "padded rows"])
@pytest.mark.parametrize("most", [1, 2**22], ids=["image by image", "at once"])
def test_value_and_gradients_are_those_of_the_published_form(
    mask: tf.Tensor | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_scores, "_MAX_PRODUCTS", most)
    own, (queries, rows) = layer(), given()
    upstream = tf.constant(np.random.default_rng(2).normal(size=(N, T, D)), tf.float32)

    found = []
    for form in (attend, published):
        with tf.GradientTape() as tape:
            tape.watch((queries, rows))
            outputs, weights = form(own, queries, rows, mask)
            loss = tf.reduce_sum(outputs * upstream) + tf.reduce_sum(weights**2)
        variables = [v.value for v in own.trainable_variables]
        found.append([outputs, weights, *tape.gradient(loss, [queries, rows, *variables])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_chunks_with_padding_change_nothing(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images in chunks of 1, 2, 3: the last chunk is padded."""
    rng = np.random.default_rng(0)
    queries, keys, shares = (
        tf.constant(rng.normal(size=(7, *rest)), tf.float32) for rest in ((2, D), (L, D), (L,))
    )
    weights = pair_scores.PairWeights(
        *(tf.constant(rng.normal(size=shape), tf.float32) for shape in ((D, M), (M,), (M,)))
    )

    @tf.function(
        input_signature=[tf.TensorSpec([None] * 2 + [D]), tf.TensorSpec([None] * 2 + [D])],
        autograph=False,
    )
    def run(queries: tf.Tensor, keys: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((queries, keys, weights))
            scores, averages = pair_scores.score_pairs(queries, keys, shares, weights)
            loss = tf.reduce_sum(tf.sin(scores)) + tf.reduce_sum(tf.sin(averages))
        return scores, averages, tape.gradient(loss, (queries, keys, weights))

    whole = tf.nest.flatten(run(queries, keys))
    monkeypatch.setattr(pair_scores, "_MAX_PRODUCTS", images * 2 * L * D)
    parts = tf.nest.flatten(tf.function(run.python_function, autograph=False)(queries, keys))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_dropout_scales_what_it_keeps_and_its_gradient() -> None:
    own, (queries, rows) = layer(dropout=0.5), given()
    plain = attend(own, queries, rows)[0]
    np.testing.assert_array_equal(attend(own, queries, rows, training=False)[0], plain)
    draws = [attend(own, queries, rows, training=True)[0] for _ in range(2)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-4
    seed, shares = tf.constant([1, 2]), tf.fill([B, L], 1 / L)
    grouped = tf.reshape(queries, [B, -1, D])
    weights = pair_scores.PairWeights(
        *own.pair_map.tensors(), tf.squeeze(own.score.tensors()[0], 1)
    )
    chunk_seed = tf.random.experimental.stateless_fold_in(seed, 0)
    shape = tf.constant([B, N // B * T, L, M])
    mask = dropout_mask(shape, 0.5, chunk_seed, tf.float32)
    assert set(np.unique(mask)) == {0.0, 2.0}

    def plainly(queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pairs = queries[:, :, None] * rows[:, None]
        hidden = tf.nn.relu(tf.tensordot(pairs, weights.kernel, 1) + weights.bias) * mask
        return tf.reduce_sum(hidden * weights.score, -1), tf.reduce_mean(hidden, 2)

    def ours(queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return pair_scores.score_pairs(queries, rows, shares, weights, dropout=0.5, seed=seed)

    found = []
    for form in (ours, plainly):
        with tf.GradientTape() as tape:
            tape.watch((grouped, weights))
            scores, averages = form(grouped)
            loss = tf.reduce_sum(tf.sin(scores)) + tf.reduce_sum(tf.sin(averages))
        found.append([scores, averages, *tape.gradient(loss, [grouped, *weights])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_single_steps_and_short_captions_are_those_of_all_words() -> None:
    own, (queries, rows) = layer(), given()
    together, weights = attend(own, queries, rows, MASK)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), np.ones((N, T)), rtol=1e-6)
    for step in range(T):
        alone, _ = attend(own, queries[:, step : step + 1], rows, MASK)
        np.testing.assert_allclose(alone[:, 0], together[:, step], rtol=1e-5, atol=1e-6)
    captions = grouped_rows.packed(tf.constant([4, 1, 0, 2, 3, 3]), tf.constant(T))
    images = captions.merged(tf.constant(B))
    projected = own.project(tf.reshape(rows, [-1, D]), grouped_rows.full(tf.constant(B), L))
    bias = mask_bias(MASK > 0)[:, None, None]
    short, short_weights = own(captions.unpad(queries), images, projected, bias)
    np.testing.assert_allclose(short, captions.unpad(together), rtol=1e-5, atol=1e-6)
    wanted = tf.reshape(captions.pad(captions.unpad(weights)), [B, 1, -1, L])
    np.testing.assert_allclose(short_weights, wanted, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_near_float32() -> None:
    plain, half, (queries, rows) = layer(), layer(dtype="mixed_bfloat16"), given()
    half.set_weights(plain.get_weights())
    given_half = (tf.cast(x, tf.bfloat16) for x in (queries, rows))
    outputs, weights = attend(half, *given_half, MASK)
    wanted, _ = attend(plain, queries, rows, MASK)
    assert outputs.dtype == tf.bfloat16 and weights.dtype == tf.float32
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), wanted, atol=0.05)


def test_products_of_pairs_exist_for_a_few_images_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`tests/benchmarks/test_xlinear_memory.py` measures the memory of the published size."""
    sizes, multiply = [], pair_scores._products
    monkeypatch.setattr(pair_scores, "_MAX_PRODUCTS", 2 * (N // B * T) * L * D)

    def recorded(*pair: tf.Tensor) -> tf.Tensor:
        sizes.append(tf.size(products := multiply(*pair)).numpy())
        return products

    monkeypatch.setattr(pair_scores, "_products", recorded)
    own, (queries, rows) = layer(), given()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(attend(own, queries, rows)[0])
    tape.gradient(loss, own.trainable_variables)
    assert len(sizes) == 4  # two chunks, forward and backward
    assert max(sizes) <= pair_scores._MAX_PRODUCTS


def test_chunks_in_a_graph_are_computed_one_after_the_other() -> None:
    queries, keys, shares = tf.zeros([2, 3, D]), tf.zeros([2, L, D]), tf.zeros([2, L])
    weights = pair_scores.PairWeights(tf.zeros([D, M]), tf.zeros([M]), tf.zeros([M]))

    def slopes(queries: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(queries)
            scores, _ = pair_scores.score_pairs(queries, keys, shares, weights)
        return tape.gradient(scores, queries)

    graph = tf.function(slopes, autograph=False).get_concrete_function(queries).graph
    loops = [op for op in graph.get_operations() if "While" in op.type]
    assert [op.get_attr("parallel_iterations") for op in loops] == [1, 1]
