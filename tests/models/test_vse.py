"""Visual-semantic embedding against Keras' layers, loops and the published formulas."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import packed_steps
from models.layers.gru import OrthogonalBlocks, PackedGRU
from models.layers.pooling import GeneralizedPooling, max_pool, mean_pool
from models.layers.row_dropout import RowDropout
from models.vse import PixelNetwork, VisualSemanticEmbedding

LENGTHS = np.array([3, 1, 5, 5, 2], np.int32)
TOKENS = np.random.default_rng(0).integers(0, 9, (5, 6)).astype(np.int32)


def small(**settings: Any) -> VisualSemanticEmbedding:
    keras.utils.set_random_seed(1)
    settings = {"vocabulary_size": 9, "feature_size": 4, "size": 6, "word_size": 5, **settings}
    return VisualSemanticEmbedding(**settings)


def keras_twin(cell: Any, size: int) -> Any:
    """Returns a Keras GRU with the weights of a cell."""
    layer = keras.layers.GRU(cell.units, return_sequences=True, reset_after=True)
    layer.build((None, None, size))
    kernel, bias, recurrent, *more = [w.numpy() for w in cell.weights]
    # The cell has two biases, or one.
    biases = np.stack([bias, more[0] if more else np.zeros_like(bias)])
    layer.set_weights([kernel, recurrent, biases])
    return layer


def packed(gru: PackedGRU, inputs: tf.Tensor) -> tf.Tensor:
    packing = packed_steps.pack(tf.constant(LENGTHS), tf.constant(6))
    found = gru(tf.gather_nd(inputs, packing.indices), packing, tf.constant(LENGTHS))
    return tf.scatter_nd(packing.indices, found, [5, 6, gru.units])


@pytest.mark.parametrize(("weights", "in_graph"), [("torch", True), ("kiros", False)])
def test_a_gru_of_two_directions_and_layers_is_that_of_keras(weights: Any, in_graph: bool) -> None:
    gru = PackedGRU(units=3, layers=2, bidirectional=True, weights=weights)
    gru.build((None, 4))
    random = np.random.default_rng(0)
    for each in gru.weights:  # biases, too
        each.assign(random.normal(size=each.shape))
    cells = [*gru.cells, *gru.backward_cells]
    twins = [keras_twin(cell, size) for cell, size in zip(cells, (4, 6, 4, 6), strict=True)]
    inputs = tf.constant(random.normal(size=(5, 6, 4)).astype("f"))
    upstream = tf.constant(random.normal(size=(5, 6, 3)).astype("f"))
    real = tf.sequence_mask(LENGTHS, 6)

    def reversed_(x: tf.Tensor) -> tf.Tensor:
        return tf.reverse_sequence(x, LENGTHS, seq_axis=1)

    def expected(x: tf.Tensor) -> tf.Tensor:
        for layer in range(2):
            ahead = twins[layer](x, mask=real)
            behind = reversed_(twins[2 + layer](reversed_(x), mask=real))
            x = (ahead + behind) / 2 if layer else tf.concat([ahead, behind], -1)
        return x * tf.cast(real, tf.float32)[..., None]

    def differentiate() -> Any:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            ours, theirs = packed(gru, inputs), expected(inputs)
            losses = [tf.reduce_sum(x * upstream) for x in (ours, theirs)]
        kernels = [cells[0].recurrent_map.kernel.value, twins[0].cell.recurrent_kernel.value]
        return (
            (ours, theirs),
            tuple(tape.gradient(loss, inputs) for loss in losses),
            tuple(tape.gradient(loss, of) for loss, of in zip(losses, kernels, strict=True)),
        )

    run = tf.function(differentiate, autograph=False) if in_graph else differentiate
    for ours, theirs in run():
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_initial_weights_of_kiros() -> None:
    gru = PackedGRU(units=6, weights="kiros")
    gru.build((None, 4))
    recurrent = gru.cells[0].recurrent_map.kernel.numpy()
    blocks = np.split(recurrent, 3, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-5)
    assert not np.allclose(blocks[0], blocks[1])
    kernel = gru.cells[0].input_map.kernel.numpy()
    assert 0.08 < np.abs(kernel).max() <= 0.1
    assert gru.cells[0].recurrent_map.bias is None
    with pytest.raises(ValueError, match=r"found 4 columns; expected a multiple of .* rows, 3"):
        OrthogonalBlocks()((3, 4))


def gpo(layer: GeneralizedPooling, rows: np.ndarray) -> np.ndarray:
    """Computes generalized pooling of one image, rank by rank (Chen et al. 2021)."""
    count = len(rows)
    phases = np.arange(count)[:, None] / 10_000 ** (np.arange(0, 32, 2) / 32)
    ranks = np.stack([np.sin(phases), np.cos(phases)], -1).reshape(count, 32).astype("f")
    ahead = keras_twin(layer.gru.cells[0], 32)(ranks[None])[0]
    behind = keras_twin(layer.gru.backward_cells[0], 32)(ranks[None, ::-1])[0, ::-1]
    scores = ((ahead + behind) / 2) @ layer.score.kernel.numpy() / 0.1
    weights = np.exp(scores - np.max(scores))
    return (weights / weights.sum() * -np.sort(-rows, axis=0)).sum(0)


def test_generalized_pooling_against_its_formula() -> None:
    keras.utils.set_random_seed(0)
    layer = GeneralizedPooling()
    layer.build()
    rows = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("f")
    for found, lengths in (
        (layer(rows, LENGTHS), LENGTHS),
        (tf.function(layer)(rows, LENGTHS), LENGTHS),
        (layer(rows), [6] * 5),
    ):
        for row, length, one in zip(rows, lengths, found, strict=True):
            np.testing.assert_allclose(one, gpo(layer, row[:length]), rtol=1e-4, atol=1e-5)
    shuffled = rows[:, ::-1]
    np.testing.assert_allclose(layer(rows), layer(shuffled), rtol=1e-5, atol=1e-6)


def test_padding_never_reaches_a_pooled_vector() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(5, 6, 3)).astype("f")
    real = tf.sequence_mask(LENGTHS, 6).numpy()[..., None]
    layer = GeneralizedPooling()
    for pool in (mean_pool, max_pool, layer):
        one = pool(tf.constant(np.where(real, rows, 0.0)), LENGTHS)
        other = pool(tf.constant(np.where(real, rows, 7.0)), LENGTHS)
        np.testing.assert_allclose(one, other, rtol=1e-6)
        first = {mean_pool: rows[0, :3].mean(0), max_pool: rows[0, :3].max(0)}.get(pool)
        if first is not None:
            np.testing.assert_allclose(one[0], first, rtol=1e-5)


@pytest.mark.parametrize("varies", [False, True])
def test_removed_rows_are_as_many_as_their_rate_says(varies: bool) -> None:
    layer = RowDropout(0.2, varies=varies)
    layer.seed_generator.state.assign([3, 0])
    rows = tf.tile(tf.range(1.0, 21.0)[None, :, None], [500, 1, 2])
    lengths = tf.repeat([20, 7], 250)
    assert layer(rows, lengths, training=False)[0] is rows
    found, left = layer(rows, lengths, training=True)
    # 80 % of the images have a rate of 0.2 * 0.6 on average.
    rate = 0.8 * 0.2 * 0.6 if varies else 0.2
    for part, count in ((left[:250], 20), (left[250:], 7)):
        assert 1 - np.mean(part) / count == pytest.approx(rate, abs=0.02)
    assert (left.numpy() == lengths.numpy()).mean() > 0.2 if varies else True
    for row, length in zip(found.numpy()[:, :, 0], left.numpy(), strict=True):
        assert length >= 1 and (np.diff(row[:length]) > 0).all() and row[length - 1] > 0
    almost, left = RowDropout(1.0)(rows, None, training=True)
    assert almost.shape[1] == 1 and (left.numpy() == 1).all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sentence_encoder": "bow", "word_size": 6, "sentence_pooling": "mean"},
        {"layers": 2, "bidirectional": True, "sentence_pooling": "gpo"},
        {"sentence_pooling": "max", "gru_weights": "kiros"},
    ],
)
def test_a_sentence_has_the_same_vector_in_any_batch(settings: dict[str, Any]) -> None:
    model = small(**settings)
    whole = model.encode_sentences(TOKENS, LENGTHS)
    np.testing.assert_allclose(tf.norm(whole, axis=1), 1, rtol=1e-5)
    for row, length, vector in zip(TOKENS, LENGTHS, whole, strict=True):
        alone = model.encode_sentences(row[None, :length], tf.constant([length]))
        np.testing.assert_allclose(alone[0], vector, rtol=1e-4, atol=1e-6)
    assert model.encode_sentences(TOKENS[:0], LENGTHS[:0]).shape == (0, 6)
    again = VisualSemanticEmbedding.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.encode_sentences(TOKENS, LENGTHS), whole, rtol=1e-5)


def test_the_last_word_of_a_gru_is_that_of_keras() -> None:
    model = small()
    twin = keras_twin(model.sentence_encoder.gru.cells[0], 5)
    words = model.sentence_encoder.words(TOKENS)
    expected = twin(words, mask=tf.sequence_mask(LENGTHS, 6)).numpy()[range(5), LENGTHS - 1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(
        model.encode_sentences(TOKENS, LENGTHS), expected, rtol=1e-4, atol=1e-6
    )


def test_a_bag_of_words_is_the_normalized_sum_of_its_words() -> None:
    model = small(sentence_encoder="bow", word_size=6, sentence_pooling="mean")
    words = model.sentence_encoder.words(TOKENS).numpy()
    expected = np.stack([row[:n].sum(0) for row, n in zip(words, LENGTHS, strict=True)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_sentences(TOKENS, LENGTHS), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("when", "in_training", "in_use"),
    [("always", True, True), ("in_use", False, True), ("never", False, False)],
)
def test_images_are_normalized_when_a_preset_says_so(when, in_training, in_use) -> None:
    model = small(normalize_images=when)
    features = {"global": tf.constant(np.random.default_rng(0).normal(size=(3, 4)).astype("f"))}
    kernel, bias = (w.numpy() for w in model.image_encoder.linear.weights)
    raw = features["global"].numpy() @ kernel + bias
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    for training, normalized in ((True, in_training), (False, in_use)):
        found = model.encode_images(features, training=training)
        np.testing.assert_allclose(found, unit if normalized else raw, rtol=1e-5, atol=1e-6)
    positive = small(normalize_images=when, absolute=True)
    assert (positive.encode_images(features).numpy() >= 0).all()
    assert (positive.encode_sentences(TOKENS, LENGTHS).numpy() >= 0).all()


def test_a_residual_mlp_of_rows_is_mapped_before_it_is_pooled() -> None:
    model = small(image_encoder="mlp", image_pooling="max")
    encoder = model.image_encoder
    rows = np.random.default_rng(0).normal(size=(5, 6, 4)).astype("f")
    mapped = encoder.linear(rows) + encoder.residual(tf.nn.relu(encoder.hidden(rows)))
    expected = np.stack([x[:n].max(0) for x, n in zip(mapped.numpy(), LENGTHS, strict=True)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = model.encode_images({"regions": rows, "region_lengths": LENGTHS})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_features_of_zeros_have_finite_gradients() -> None:
    model = small(normalize_features=True)
    with tf.GradientTape() as tape:
        found = tf.reduce_sum(model.encode_images({"global": tf.zeros([2, 4])}, training=True))
    gradients = tape.gradient(found, [v.value for v in model.image_encoder.trainable_variables])
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


@pytest.mark.parametrize("rows", [False, True])
def test_a_network_trains_along_only_when_it_should(rows: bool) -> None:
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 4, 4)])
    own = PixelNetwork(network, keras.applications.mobilenet.preprocess_input, "all", True)
    model = small(pixel_rows=rows, pixels=own, image_pooling="max", image_encoder="mlp")
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], [0, 1], maxval=255.0)
    kernel = network.trainable_variables[0].value

    @tf.function(autograph=False)
    def gradient(trains: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            vectors = model.encode_images({"pixels": pixels}, training=True, network_trains=trains)
            loss = tf.reduce_sum(vectors[:, 0])
        return tape.gradient(loss, kernel)

    assert np.abs(gradient(tf.constant(True))).max() > 0
    assert np.abs(gradient(tf.constant(False))).max() == 0
    again = VisualSemanticEmbedding.from_config(model.get_config())
    again.set_weights(model.get_weights())
    inputs = {"pixels": pixels}
    np.testing.assert_allclose(
        again.encode_images(inputs), model.encode_images(inputs), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sentence_encoder": "lstm"}, "known: gru, bow"),
        ({"sentence_encoder": "bow"}, "word vectors of size 6"),
        ({"sentence_encoder": "bow", "word_size": 6}, "no last word"),
        ({"image_encoder": "cnn"}, "known: linear, mlp"),
        ({"image_pooling": "last"}, "is not defined for images"),
        ({"similarity": "dot"}, "known: cosine, order"),
        ({"normalize_images": "no"}, "known: always, in_use, never"),
        ({"gru_weights": "keras"}, "known: torch, kiros"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings)
