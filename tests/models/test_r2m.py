"""R2M's layers against NumPy transcriptions of the formulas (spec of the paper, section 3)."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import ops
from models.layers.fusion import AttentionFusion, ConcatFusion
from models.layers.relational_memory import RelationalMemory
from models.r2m import R2M

B, T, H, HEADS, V = 3, 5, 8, 2, 19


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(7)


def _weights(layer) -> dict[str, np.ndarray]:
    return {"/".join(w.path.split("/")[-2:]): np.asarray(w, np.float64) for w in layer.weights}


def _randomize(layer) -> None:
    """Randomizes all weights, including biases and norms, so that a missing one is detected."""
    for weight in layer.trainable_weights:
        weight.assign(weight + tf.random.normal(weight.shape, stddev=0.3))


def _norm(x, w, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * w[f"{name}/gamma"] + w[f"{name}/beta"]


def _dense(x, w, name):
    return x @ w[f"{name}/kernel"] + w.get(f"{name}/bias", 0.0)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _attention(rows, w):
    """Computes attention of rows [N, D] of one example: joint projection, its norm, heads."""
    qkv = _norm(_dense(rows, w, "qkv_map"), w, "qkv_norm")
    size = rows.shape[1] // HEADS
    out = np.zeros_like(rows)
    for head in range(HEADS):
        q, k, v = np.split(qkv[:, head * 3 * size : (head + 1) * 3 * size], 3, axis=1)
        scores = q @ k.T / np.sqrt(size)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        out[:, head * size : (head + 1) * size] = weights @ v
    return out


def test_relational_memory_follows_the_published_cell():
    layer = RelationalMemory(units=H, heads=HEADS)
    inputs = np.random.RandomState(0).randn(B, T, 2 * H).astype(np.float32)
    layer(inputs)
    _randomize(layer)
    w = _weights(layer)
    found = layer(inputs).numpy()
    input_gates, forget_gates = layer.all_gates(tf.constant(inputs))
    for b in range(B):
        memory = np.zeros(H)
        for t in range(T):
            z = _dense(inputs[b, t], w, "input_map")
            rows = np.stack([memory, z])
            rows = _norm(rows + _attention(rows, w), w, "attention_norm")
            mlp = _dense(np.maximum(_dense(rows, w, "mlp_hidden"), 0), w, "mlp_output")
            rows = _norm(rows + mlp, w, "mlp_norm")
            gates = _dense(z, w, "input_gates") + _dense(np.tanh(memory), w, "memory_gates")
            i, f = _sigmoid(gates[:H]), _sigmoid(gates[H:] + 1)
            memory = i * np.tanh(rows[0]) + f * memory
            np.testing.assert_allclose(found[b, t], memory, atol=2e-6)
            np.testing.assert_allclose(input_gates[b, t], i, atol=2e-6)
            np.testing.assert_allclose(forget_gates[b, t], f, atol=2e-6)


def test_fusion_attends_over_word_and_concepts():
    layer = AttentionFusion(units=H, heads=HEADS)
    random = np.random.RandomState(1)
    words, vector = random.randn(B, T, H).astype("f"), random.randn(B, H).astype("f")
    layer.build()
    _randomize(layer)
    w = _weights(layer)
    projected, concepts = (layer.project(tf.constant(x)) for x in (words, vector))
    found = layer(projected, concepts).numpy()
    one = layer(tuple(x[:, 2] for x in projected), concepts).numpy()
    for b in range(B):
        for t in range(T):
            rows = _attention(np.stack([words[b, t], vector[b]]).astype(np.float64), w)
            np.testing.assert_allclose(found[b, t], rows.reshape(-1), atol=2e-6)
    np.testing.assert_allclose(one, found[:, 2], atol=1e-6)


def test_concatenation_puts_the_concepts_beside_each_word():
    layer = ConcatFusion(units=2)
    words = tf.reshape(tf.range(12.0), [2, 3, 2])
    found = layer((words,), (tf.constant([[7.0, 8.0], [9.0, 10.0]]),)).numpy()
    assert found[1, 2].tolist() == [10.0, 11.0, 9.0, 10.0]
    assert found.shape == (2, 3, 4)


SETTINGS = [
    {},
    {"decoder": "lstm"},
    {"fusion": "concat"},
    {"reconstructor": "lstm", "tie_embeddings": True},
    {"image_projection": "frozen"},
]


def _inputs():
    return {
        "concepts": tf.constant([[4, 5, 6], [7, 8, 0], [0, 0, 0]]),
        "concept_lengths": tf.constant([3, 2, 0]),
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_step_by_step_equals_all_steps_at_once(settings):
    model = R2M(vocabulary_size=V, units=H, image_features=4, **settings)
    tokens = tf.constant(np.random.RandomState(2).randint(3, V, (B, T)), tf.int32)
    memory = model.encode(_inputs())
    hidden = model.teacher_forced(memory, tokens)
    state = model.initial_state(memory, T)
    for t in range(T):
        output, state = model.step(tokens[:, t], state, memory)
        np.testing.assert_allclose(output, hidden[:, t], atol=2e-6)
    assert model.logits(output).shape == (B, V)
    assert model.reconstruct(hidden, tf.constant([5, 2, 1])).shape == (B, H)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_survive_serialization(settings):
    model = R2M(vocabulary_size=V, units=H, image_features=4, **settings)
    again = R2M.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        model.encode(_inputs())["vector"], again.encode(_inputs())["vector"]
    )


def test_reconstruction_reads_the_last_real_step():
    model = R2M(vocabulary_size=V, units=H)
    hidden = tf.random.normal([B, T, H])
    whole = model.reconstructor(hidden).numpy()
    found = model.reconstruct(hidden, tf.constant([5, 2, 1])).numpy()
    np.testing.assert_allclose(found, whole[[0, 1, 2], [4, 1, 0]], atol=1e-6)


def test_padding_does_not_reach_the_encoder():
    model = R2M(vocabulary_size=V, units=H)
    narrow = {"concepts": tf.constant([[7, 8]]), "concept_lengths": tf.constant([2])}
    wide = {"concepts": tf.constant([[7, 8, 11, 12]]), "concept_lengths": tf.constant([2])}
    np.testing.assert_allclose(
        model.encode(narrow)["vector"], model.encode(wide)["vector"], atol=1e-6
    )


def test_no_concepts_encode_to_zero_with_a_finite_gradient():
    model = R2M(vocabulary_size=V, units=H)
    inputs = {"concepts": tf.zeros([1, 1], tf.int32), "concept_lengths": tf.zeros([1], tf.int32)}
    with tf.GradientTape() as tape:
        vector = model.encode(inputs)["vector"]
        loss = tf.reduce_sum(vector)
    assert not vector.numpy().any()
    for gradient in tape.gradient(loss, model.encoder.trainable_variables):
        assert not np.any(gradient.numpy())


def test_frozen_image_projection_has_no_trainable_weights():
    frozen = R2M(vocabulary_size=V, units=H, image_features=4, image_projection="frozen")
    assert frozen.image_map.trainable_variables == []
    assert len(frozen.image_map.weights) == 2


def test_tied_embeddings_share_one_matrix():
    tied = R2M(vocabulary_size=V, units=H, tie_embeddings=True)
    free = R2M(vocabulary_size=V, units=H)
    assert free.count_params() - tied.count_params() == V * H
    np.testing.assert_array_equal(tied.output_layer[0], tied.embedding.embeddings)


@pytest.mark.parametrize("name", ["decoder", "fusion", "reconstructor", "image_projection"])
def test_unknown_variants_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"unknown {name} 'x'; known: .*,"):
        R2M(vocabulary_size=V, units=H, **{name: "x"})


def test_dropout_acts_in_training_only():
    model = R2M(vocabulary_size=V, units=64, dropout=0.5)
    inputs = {"concepts": tf.constant([[4, 5]]), "concept_lengths": tf.constant([2])}
    still = model.encode(inputs)["vector"].numpy()
    np.testing.assert_array_equal(still, model.encode(inputs)["vector"])
    assert np.abs(still - model.encode(inputs, training=True)["vector"]).max() > 0.01


def test_embeddings_start_in_the_published_range():
    model = R2M(vocabulary_size=500, units=32)
    for matrix in (model.embedding.embeddings, model.softmax_weights):
        values = np.asarray(matrix)
        assert values.min() >= -0.08
        assert values.max() <= 0.08
        assert values.std() == pytest.approx(0.16 / np.sqrt(12), rel=0.05)
    assert not np.array_equal(model.embedding.embeddings, model.softmax_weights)


def test_unit_norm_of_zero_has_zero_gradient():
    x = tf.Variable([[0.0, 0.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        y = ops.unit_norm(x)
        loss = tf.reduce_sum(y * [[1.0, 2.0], [1.0, 2.0]])
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0.8]], atol=1e-7)
    gradient = tape.gradient(loss, x).numpy()
    assert not gradient[0].any()
    # d/dx of (x + 2y)/|(x, y)| at (3, 4)
    np.testing.assert_allclose(gradient[1], [(1 - 0.6 * 2.2) / 5, (2 - 0.8 * 2.2) / 5], atol=1e-6)
