"""Transformer captioner: against its published formulas in NumPy; size and initial weights.

Source: spec self_critical_and_spatial 2.4 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.registry import build_captioner
from models.captioners.transformer import Transformer
from models.decoding.search import DecodingOptions, decode

Array = np.ndarray
Weights = Mapping[str, Array]
F, H, D, INNER, V, L, T = 5, 2, 6, 10, 11, 4, 5
REAL_ROWS = [4, 2]


def small(**changes: Any) -> Any:
    keras.utils.set_random_seed(0)
    return build_captioner(
        "transformer", vocabulary_size=V, region_size=F, units=D, heads=H, inner_units=INNER,
        encoder_layers=2, decoder_layers=2, **changes,
    )  # fmt: skip


class Formula:
    """Forward pass of one image in NumPy."""

    def __init__(self, weights: Weights, norm: str) -> None:
        self.w, self.kind = weights, norm

    def affine(self, name: str, x: Array) -> Array:
        return x @ self.w[f"{name}/kernel"] + self.w[f"{name}/bias"]

    def norm(self, name: str, x: Array) -> Array:
        centered = x - x.mean(-1, keepdims=True)
        if self.kind == "unbiased":
            unit = centered / (x.std(-1, ddof=1, keepdims=True) + 1e-6)
        else:
            unit = centered / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return unit * self.w[f"{name}/gamma"] + self.w[f"{name}/beta"]

    def attend(self, name: str, x: Array, rows: Array, mask: Array) -> tuple[Array, Array]:
        """Returns the output, and the attention weights averaged over heads."""
        if rows is x:
            query, keys, values = np.split(self.affine(f"{name}/qkv_map", x), 3, axis=-1)
        else:
            query = self.affine(f"{name}/query_map", x)
            keys, values = np.split(self.affine(f"{name}/key_value_map", rows), 2, axis=-1)
        size, found, weights = D // H, [], []
        for h in range(H):
            own = slice(h * size, (h + 1) * size)
            scores = query[:, own] @ keys[:, own].T / np.sqrt(size)
            a = np.where(mask, np.exp(scores), 0)
            weights.append(a / a.sum(-1, keepdims=True))
            found.append(weights[-1] @ values[:, own])
        return self.affine(f"{name}/output_map", np.concatenate(found, -1)), np.mean(weights, 0)

    def feed_forward(self, name: str, x: Array) -> Array:
        normed = self.norm(f"{name}/feed_forward_norm", x)
        inner = np.maximum(self.affine(f"{name}/feed_forward/inner_map", normed), 0)
        return x + self.affine(f"{name}/feed_forward/output_map", inner)

    def __call__(self, regions: Array, words: Array) -> tuple[Array, Array]:
        """Maps regions [L, F] and words [T] to hidden [T, D] and attention weights [T, L]."""
        x = np.maximum(self.affine("row_map", regions), 0)
        for i in range(2):
            name = f"encoder_{i}"
            normed = self.norm(f"{name}/attention_norm", x)
            x = x + self.attend(f"{name}/attention", normed, normed, np.True_)[0]
            x = self.feed_forward(name, x)
        rows = self.norm("encoder_norm", x)
        columns = np.arange(D)
        angles = np.arange(len(words))[:, None] / 10_000 ** ((columns - columns % 2) / D)
        y = self.w["decoder/embedding/embeddings"][words] * np.sqrt(D)
        y = y + np.where(columns % 2, np.cos(angles), np.sin(angles))
        real = words != 0
        real[0] = True
        earlier = np.tril(np.ones((len(words), len(words)), bool)) & real
        weights = np.zeros(0)
        for i in range(2):
            name = f"decoder/layer_{i}"
            normed = self.norm(f"{name}/attention_norm", y)
            y = y + self.attend(f"{name}/attention", normed, normed, earlier)[0]
            normed = self.norm(f"{name}/cross_norm", y)
            found, weights = self.attend(f"{name}/cross_attention", normed, rows, np.True_)
            y = self.feed_forward(name, y + found)
        return self.norm("decoder/norm", y), weights


@pytest.mark.parametrize(("norm", "tied"), [("layer", False), ("unbiased", True)])
def test_the_forward_pass_is_its_formula(norm: str, tied: bool) -> None:
    model = small(norm=norm, tie_embeddings=tied)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    weights = {v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}
    formula, regions = Formula(weights, norm), rng.normal(size=(2, L, F))
    words = np.array([[1, 5, 7, 3, 4], [0, 9, 0, 4, 4], [1, 0, 3, 0, 5], [1, 4, 4, 8, 2]])
    inputs = {
        "regions": tf.constant(regions, tf.float32),
        "region_lengths": tf.constant(REAL_ROWS),
    }
    memory, tokens = model.encode(inputs), tf.constant(words, tf.int32)
    hidden, attention = model.teacher_forced(memory, tokens), model.attention(memory, tokens)
    state = model.initial_state(tf.nest.map_structure(lambda x: tf.repeat(x, 2, 0), memory), T + 2)
    steps = []
    for t in range(T):
        step, state = model.step(tokens[:, t], state, memory)
        steps.append(step)
    kernel = weights["decoder/embedding/embeddings" if tied else "decoder/word_output/kernel"]
    bias = weights["decoder/output_bias" if tied else "decoder/word_output/bias"]
    for i, own in enumerate(words):
        rows = REAL_ROWS[i // 2]
        wanted, wanted_weights = formula(regions[i // 2, :rows], own)
        np.testing.assert_allclose(hidden[i], wanted, atol=2e-5)
        np.testing.assert_allclose(tf.stack(steps, 1)[i], wanted, atol=2e-5)
        np.testing.assert_allclose(model.logits(hidden[i]), wanted @ kernel.T + bias, atol=1e-4)
        np.testing.assert_allclose(attention[i, :, :rows], wanted_weights, atol=1e-5)
        assert not np.any(attention[i, :, rows:])


def test_images_without_padding_are_searched_in_a_graph() -> None:
    model = small()
    options = DecodingOptions(beam_size=2, max_length=4)

    @tf.function(input_signature=[tf.TensorSpec([None, L, F])], autograph=False)
    def search(regions: tf.Tensor) -> Any:
        return decode(model, model.encode({"regions": regions}), options)

    # Calls are recorded while the search is traced; the loop must not call it.
    projected = []
    for layer in model.decoder.layers:
        attention, project = layer.cross_attention, layer.cross_attention.project
        attention.project = lambda *x, run=project: projected.append(1) or run(*x)
    regions = tf.random.stateless_normal([3, L, F], [1, 2])
    together = search(regions)
    assert len(projected) == len(model.decoder.layers)
    for i in range(3):
        alone = search(regions[i : i + 1])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])
        np.testing.assert_allclose(alone.scores[0], together.scores[i], rtol=1e-5)


def test_published_number_of_parameters() -> None:
    """54.91 million weights; with tied embeddings 9,488 x 512 fewer. No weights are allocated."""
    layers = {"vocabulary_size": 9_488, "feature_size": 2_048}
    with keras.StatelessScope():
        counts = [
            sum(int(np.prod(v.shape)) for v in Transformer(**layers, **more).trainable_variables)
            for more in ({}, {"tie_embeddings": True})
        ]
    assert counts == [54_914_832, 54_914_832 - 9_488 * 512]


def test_first_weights() -> None:
    """Xavier-uniform inside encoder and decoder, with the fans of one matrix; else PyTorch's."""
    keras.utils.set_random_seed(0)
    model = Transformer(
        vocabulary_size=90, feature_size=40, units=64, inner_units=128, encoder_layers=1,
        decoder_layers=1,
    )  # fmt: skip
    bounds = {
        "row_map/kernel": 40**-0.5,
        "row_map/bias": 40**-0.5,
        "encoder_0/attention/qkv_map/kernel": (6 / 128) ** 0.5,
        "encoder_0/attention/qkv_map/bias": 1 / 8,
        "encoder_0/feed_forward/inner_map/kernel": (6 / 192) ** 0.5,
        "encoder_0/feed_forward/output_map/bias": 128**-0.5,
        "decoder/layer_0/cross_attention/key_value_map/kernel": (6 / 128) ** 0.5,
        "decoder/layer_0/cross_attention/output_map/kernel": (6 / 128) ** 0.5,
        "decoder/embedding/embeddings": (6 / 154) ** 0.5,
        "decoder/word_output/kernel": (6 / 154) ** 0.5,
        "decoder/word_output/bias": 1 / 8,
    }
    found = {v.path: v.numpy() for v in model.trainable_variables}
    for name, bound in bounds.items():
        values = np.abs(found[name])
        assert 0.9 * bound < values.max() <= bound, name
        assert 0.3 * bound < values.mean() < 0.7 * bound, name
    assert np.all(found["decoder/norm/gamma"] == 1) and not np.any(found["decoder/norm/beta"])
