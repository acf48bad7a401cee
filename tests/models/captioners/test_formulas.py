"""Captioners against NumPy implementations of their published formulas.

Sources: spec self_critical_and_spatial 2.1 (FC), 2.2 (att2in2, att2in) and 2.3 (up-down), spec
embedding_and_recurrent 3.3 (RNN, LSTM, attention LSTM). All sizes are distinct.

Letters: B images, L rows, D and G features, E word, H state, A attention units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.captioners.registry import build_captioner

B, L, D, G, E, H, A, V, STEPS = 2, 3, 4, 5, 6, 7, 8, 11, 3
REAL_ROWS = [3, 2]
Array = np.ndarray
Weights = Mapping[str, Array]
# (weights, regions [B, L, D], their mask [B, L], vector [B, G], words [B, T])
#   -> (states before the first word, hidden states [B, T, H])
Formula = Callable[[Weights, Array, Array, Array, Array], tuple[list[Array], Array]]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def affine(w: Weights, name: str, x: Array) -> Array:
    return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]


def lstm(sums: Array, c: Array) -> tuple[Array, Array]:
    """Computes an LSTM step; blocks in the order i, f, o, g."""
    i, f, o, g = (sums[:, n * H : (n + 1) * H] for n in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def maxout(sums: Array, c: Array, context: Array | float = 0.0) -> tuple[Array, Array]:
    """Computes a maxout LSTM step, whose candidate has no tanh."""
    i, f, o = (sigmoid(sums[:, n * H : (n + 1) * H]) for n in range(3))
    halves = sums[:, 3 * H :] + context
    c = f * c + i * np.maximum(halves[:, :H], halves[:, H:])
    return o * np.tanh(c), c


def attend(w: Weights, h: Array, rows: Array, mask: Array) -> Array:
    """Computes v = sum a_k row_k, with the mask applied after the softmax."""
    found = np.zeros((B, rows.shape[2]))
    for b in range(B):
        scores = [
            np.tanh(affine(w, "attention/row_map", row) + affine(w, "attention/query_map", h[b]))
            @ w["attention/score/kernel"][:, 0]
            + w["attention/score/bias"][0]
            for row in rows[b]
        ]
        a = np.exp(scores) / np.exp(scores).sum() * mask[b]
        found[b] = (a / a.sum()) @ rows[b]
    return found


def cell_sums(w: Weights, x: Array, h: Array, name: str = "cell") -> Array:
    return affine(w, f"{name}/input_map", x) + affine(w, f"{name}/recurrent_map", h)


def fc(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    h = c = np.zeros((B, H))
    h, c = maxout(cell_sums(w, affine(w, "image_map", vector), h), c)
    start, said = [h, c], []
    for t in range(STEPS):
        h, c = maxout(cell_sums(w, w["embedding/embeddings"][words[:, t]], h), c)
        said.append(h)
    return start, np.stack(said, 1)


def att2in2(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    return _att2in(w, relu(affine(w, "row_map", regions)), mask, relu, words)


def att2in(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    return _att2in(w, regions, mask, lambda x: x, words)


def _att2in(
    w: Weights, rows: Array, mask: Array, after: Callable[[Array], Array], words: Array
) -> tuple[list[Array], Array]:
    h = c = np.zeros((B, H))
    said = []
    for t in range(STEPS):
        context = affine(w, "context_map", attend(w, h, rows, mask))
        x = after(w["embedding/embeddings"][words[:, t]])
        h, c = maxout(cell_sums(w, x, h), c, context)
        said.append(h)
    return [np.zeros((B, H))] * 2, np.stack(said, 1)


def updown(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    rows, image = relu(affine(w, "row_map", regions)), relu(affine(w, "global_map", vector))
    # Input weights of [h_language; image; word].
    kernel = np.concatenate(
        [
            w["language_share/kernel"],
            w["image_share/kernel"],
            w["attention_cell/input_map/kernel"],
        ]
    )
    h1 = c1 = h2 = c2 = np.zeros((B, H))
    said = []
    for t in range(STEPS):
        word = relu(w["embedding/embeddings"][words[:, t]])
        sums = np.concatenate([h2, image, word], 1) @ kernel + w["attention_cell/input_map/bias"]
        h1, c1 = lstm(sums + affine(w, "attention_cell/recurrent_map", h1), c1)
        x = np.concatenate([attend(w, h1, rows, mask), h1], 1)
        h2, c2 = lstm(cell_sums(w, x, h2, "language_cell"), c2)
        said.append(h2)
    return [np.zeros((B, H))] * 4, np.stack(said, 1)


def course_sums(w: Weights, words: Array, t: int, h: Array) -> Array:
    """Computes the sums of the course's cells, which have a single bias."""
    x = w["embedding/embeddings"][words[:, t]]
    return affine(w, "cell/input_map", x) + h @ w["cell/recurrent_map/kernel"]


def rnn(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    h = start = affine(w, "state_map", regions.reshape(B, L * D))
    said = []
    for t in range(STEPS):
        h = np.tanh(course_sums(w, words, t, h))
        said.append(h)
    return [start], np.stack(said, 1)


def lstm_captioner(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    h = start = affine(w, "state_map", regions.sum(1) / L)
    c, said = np.zeros((B, H)), []
    for t in range(STEPS):
        h, c = lstm(course_sums(w, words, t, h), c)
        said.append(h)
    return [start, np.zeros((B, H))], np.stack(said, 1)


def attention_lstm(
    w: Weights, regions: Array, mask: Array, vector: Array, words: Array
) -> tuple[list[Array], Array]:
    grid = affine(w, "grid_map", regions)
    h = c = start = grid.sum(1) / L
    said = []
    for t in range(STEPS):
        looks = np.exp(np.einsum("blh,bh->bl", grid, h) / np.sqrt(H))
        looks /= looks.sum(1, keepdims=True)
        context = np.einsum("bl,blh->bh", looks, grid)
        h, c = lstm(course_sums(w, words, t, h) + context @ w["context_map/kernel"], c)
        said.append(h)
    return [start, start], np.stack(said, 1)


# Captioner -> formula, settings, whether images may have padded rows.
FORMULAS: dict[str, tuple[Formula, dict[str, Any], bool]] = {
    "fc": (fc, {}, False),
    "att2in2": (att2in2, {"attention_units": A}, True),
    "att2in": (att2in, {"attention_units": A}, True),
    "updown": (updown, {"attention_units": A}, True),
    "rnn": (rnn, {"pool": "flatten"}, False),
    "lstm": (lstm_captioner, {"pool": "average"}, False),
    "attention_lstm": (attention_lstm, {}, False),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_captioner_is_its_formula(name: str) -> None:
    formula, settings, masked = FORMULAS[name]
    model = build_captioner(
        name, vocabulary_size=V, global_size=G, region_size=D, grid_cells=L,
        units=H, word_size=E, **settings,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.6, size=variable.shape))
    weights = {v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}
    regions, vector = rng.normal(size=(B, L, D)), rng.normal(size=(B, G))
    words = rng.integers(0, V, (B, STEPS))
    mask = np.arange(L)[None] < np.array(REAL_ROWS)[:, None] if masked else np.ones((B, L))
    wanted_start, wanted_hidden = formula(weights, regions, mask.astype(float), vector, words)

    inputs = {
        "regions": tf.constant(regions, tf.float32),
        "global": tf.constant(vector, tf.float32),
    }
    if masked:
        inputs["region_lengths"] = tf.constant(REAL_ROWS)
    memory = model.encode(inputs)
    start = tf.nest.flatten(model.initial_state(memory, STEPS))
    for found, wanted in zip(start, wanted_start, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    hidden = model.teacher_forced(memory, tf.constant(words, tf.int32))
    np.testing.assert_allclose(hidden, wanted_hidden, atol=1e-5)
    logits = model.logits(tf.reshape(hidden, [-1, H]))
    wanted_logits = wanted_hidden @ weights["word_output/kernel"].T + weights["word_output/bias"]
    np.testing.assert_allclose(tf.reshape(logits, [B, STEPS, V]), wanted_logits, atol=1e-5)
