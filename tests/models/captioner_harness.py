"""Checks that every captioner passes; `tests/models/test_captioners.py` runs them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.base import Captioner
from models.decoding.ensemble import Ensemble
from models.decoding.search import DecodingOptions, decode
from models.layers import image_rows
from tests.models.decoding import reference_search
from tests.models.small_captioners import TOKENS, Sample, V

B, T = 3, 6
LENGTHS = tf.constant([6, 2, 4])


@functools.cache
def built(sample: Sample) -> Captioner:
    """A model that checks share: none of them changes its weights."""
    keras.utils.set_random_seed(0)
    return sample.build()


def forced(
    model: Captioner, inputs: dict[str, tf.Tensor], training: bool = False, **kwargs: Any
) -> Any:
    memory = model.encode(inputs, training=training)
    return model.teacher_forced(memory, TOKENS, training=training, **kwargs)


def flat_logits(model: Captioner, hidden: Any) -> tf.Tensor:
    """[N, T, H] -> [N * T, V]."""
    rows = tf.nest.map_structure(lambda x: tf.reshape(x, [-1, x.shape[-1]]), hidden)
    return model.logits(rows)


def cross_entropy(model: Captioner, inputs: dict[str, tf.Tensor], tokens: tf.Tensor) -> tf.Tensor:
    memory = model.encode(inputs)
    hidden = model.teacher_forced(memory, tokens[:, :-1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(tokens[:, 1:], [-1]), logits=flat_logits(model, hidden)
    )
    return tf.reduce_mean(losses)


def assert_close(found: Any, wanted: Any, **tolerance: float) -> None:
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        one, other = (tf.cast(x, tf.float32) for x in (one, other))
        np.testing.assert_allclose(one, other, **tolerance)


def check_shapes(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    hidden = forced(model, inputs)
    for part in tf.nest.flatten(hidden):
        assert part.shape[:2] == (B, T)
    logits = flat_logits(model, hidden)
    assert logits.shape == (B * T, V) and logits.dtype == tf.float32
    called = model({**inputs, "tokens": TOKENS})
    np.testing.assert_allclose(called, tf.reshape(logits, [B, T, V]), atol=1e-5)
    if isinstance(model, Ensemble):
        with pytest.raises(ValueError, match="no softmax layer"):
            _ = model.output_layer
        return
    weights, bias = model.output_layer
    rows = tf.reshape(hidden, [B * T, -1])
    assert weights.shape == (V, rows.shape[1]) and bias.shape == (V,)
    np.testing.assert_allclose(logits, rows @ tf.transpose(weights) + bias, atol=1e-5)


def check_teacher_forcing_is_steps(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    memory = model.encode(inputs)
    hidden = model.teacher_forced(memory, TOKENS)
    state = model.initial_state(memory, T)
    for step in range(T):
        output, state = model.step(TOKENS[:, step], state, memory)
        assert_close(output, tf.nest.map_structure(lambda x, t=step: x[:, t], hidden), atol=2e-6)
    short = model.teacher_forced(memory, TOKENS, LENGTHS)
    real = tf.sequence_mask(LENGTHS, T, tf.float32)[:, :, None]
    assert_close(short, tf.nest.map_structure(lambda x: x * real, hidden), atol=2e-6)


def check_images_are_independent(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    tokens = TOKENS[:, :3]
    together = model.teacher_forced(model.encode(inputs), tokens)
    for i in range(B):
        memory = model.encode({name: x[i : i + 1] for name, x in inputs.items()})
        alone = model.teacher_forced(memory, tokens[i : i + 1])
        assert_close(alone, tf.nest.map_structure(lambda x, i=i: x[i : i + 1], together), atol=5e-6)


def check_captions_share_an_image(sample: Sample, _: Path) -> None:
    """Two captions per image, side by side, equal those of two images that are alike."""
    model = built(sample)
    tokens = tf.concat([TOKENS, TOKENS[::-1]], axis=0)
    lengths = tf.constant([6, 2, 3, 0, 4, 6])
    memory = model.encode(sample.inputs(B))
    alone = image_rows.repeat(memory, 6)
    shared, apart = (model.teacher_forced(given, tokens, lengths) for given in (memory, alone))
    assert tf.nest.flatten(shared)[0].shape[0] == 6
    assert_close(shared, apart, atol=1e-6)
    state = model.initial_state(alone, T)
    given = model.expand_memory(memory, 6)
    shared, apart = (model.step(tokens[:, 0], state, own)[0] for own in (given, alone))
    assert_close(shared, apart, atol=1e-6)


def check_every_weight_learns(sample: Sample, _: Path) -> None:
    model = built(sample)
    with tf.GradientTape() as tape:
        hidden = forced(model, sample.inputs(B), training=True)
        loss = tf.reduce_sum(flat_logits(model, hidden) ** 2)
    variables = [v.value for v in model.trainable_variables]
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, variables), strict=True
    ):
        if not any(part in variable.path for part in sample.unreached):
            assert gradient is not None, variable.path
            assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


def check_dropout_is_for_training_only(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    calm = [forced(model, inputs) for _ in range(2)]
    assert_close(*calm, rtol=0)
    if any(getattr(layer, "rate", 0) for layer in model._flatten_layers()):
        wild = forced(model, inputs, training=True)
        pairs = zip(tf.nest.flatten(wild), tf.nest.flatten(calm[0]), strict=True)
        assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


def check_half_precision_follows_float32(sample: Sample, _: Path) -> None:
    """Padded rows included; activations are rounded to 8 bits."""
    plain, inputs = built(sample), sample.inputs(B)
    half = sample.build(dtype="mixed_bfloat16")
    half.set_weights(plain.get_weights())
    wanted = forced(plain, inputs, lengths=LENGTHS)
    variables = [v.value for v in half.trainable_variables]
    with tf.GradientTape() as tape:
        hidden = forced(half, inputs, lengths=LENGTHS)
        loss = tf.reduce_sum(flat_logits(half, hidden) ** 2)
    assert all(x.dtype == tf.bfloat16 for x in tf.nest.flatten(hidden))
    scale = max(1.0, *(float(tf.reduce_max(tf.abs(x))) for x in tf.nest.flatten(wanted)))
    assert_close(hidden, wanted, atol=0.02 * scale)
    for gradient in tape.gradient(loss, variables, unconnected_gradients="zero"):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def check_config_and_file_round_trip(sample: Sample, folder: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    named = sample.build(name="my_name", dtype="mixed_bfloat16")
    again = type(named).from_config(named.get_config())
    assert again.name == "my_name" and again.dtype_policy == named.dtype_policy
    assert again.get_config() == named.get_config()
    policies = [[layer.dtype_policy.name for layer in m._flatten_layers()] for m in (named, again)]
    assert policies[0] == policies[1]
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert loaded.name == model.name and loaded.dtype_policy == model.dtype_policy
    wanted = forced(model, inputs)
    assert_close(forced(again, inputs), wanted, rtol=0)
    assert_close(forced(loaded, inputs), wanted, rtol=0)


def check_a_training_step_lowers_the_loss(sample: Sample, _: Path) -> None:
    keras.utils.set_random_seed(0)
    model, inputs = sample.build(), sample.inputs(B)
    variables = [v.value for v in model.trainable_variables]

    with tf.GradientTape() as tape:
        before = cross_entropy(model, inputs, TOKENS)
    gradients = tape.gradient(before, variables, unconnected_gradients="zero")
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.05 * tf.convert_to_tensor(gradient))
    assert cross_entropy(model, inputs, TOKENS) < before


def check_search_is_a_plain_loop(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    options = DecodingOptions(beam_size=1, max_length=T)
    memory = model.encode(inputs)
    # A graph, in which weights are prepared.
    greedy = tf.function(lambda: decode(model, memory, options), autograph=False)()
    state, words = model.initial_state(memory, T), tf.ones([B], tf.int32)
    alive = np.full(B, True)
    for t in range(T):
        hidden, state = model.step(words, state, memory)
        words = tf.argmax(model.logits(hidden)[:, 2:], 1, tf.int32) + 2
        np.testing.assert_array_equal(greedy.tokens[:, 0, t], np.where(alive, words, 0))
        alive &= words.numpy() != 2
    found = decode(model, memory, DecodingOptions(beam_size=2, max_length=4))
    one = tf.nest.map_structure(lambda x: x[1:2], memory)

    def step(token: int, state: Any) -> Any:
        hidden, state = model.step(tf.constant([token]), state, one)
        return model.logits(hidden)[0].numpy(), state

    start = model.initial_state(one, 4)
    expected = reference_search.search(step, start, beam_size=2, max_length=4)
    for place, (tokens, score) in enumerate(expected):
        length = int(found.lengths[1, place])
        assert found.tokens[1, place, :length].numpy().tolist() == tokens
        np.testing.assert_allclose(found.scores[1, place], score, rtol=1e-4, atol=1e-4)


def check_an_ensemble_of_one_is_the_model(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    ensemble = Ensemble([model, model], [list(inputs)] * 2)
    wanted = tf.nn.log_softmax(flat_logits(model, forced(model, inputs)))
    found = flat_logits(ensemble, forced(ensemble, inputs))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    memory = ensemble.encode(inputs)
    state = ensemble.initial_state(memory, T)
    hidden, _ = ensemble.step(TOKENS[:, 0], state, memory)
    np.testing.assert_allclose(ensemble.logits(hidden), wanted[::T], atol=1e-5)


def check_attention_sums_to_one(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    memory = model.encode(inputs)
    if not model.has_attention:
        with pytest.raises(ValueError, match="no attention"):
            model.attention(memory, TOKENS)
        return
    weights = model.attention(memory, TOKENS)
    assert weights.shape[:2] == (B, T)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), np.ones((B, T)), rtol=1e-5)
    if (lengths := inputs.get("region_lengths")) is not None:
        padded = 1 - tf.sequence_mask(lengths, weights.shape[2], tf.float32)[:, None]
        assert not (weights * padded).numpy().any()
    shared = model.attention(memory, tf.repeat(TOKENS, 2, axis=0))
    np.testing.assert_allclose(shared[::2], weights, atol=1e-6)


def check_padded_regions_are_not_used(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    if "regions" not in model.inputs.kinds or isinstance(model, Ensemble):
        return
    inputs["region_lengths"] = tf.constant([2, 2, 2])
    cut = {**inputs, "regions": inputs["regions"][:, :2]}
    del cut["region_lengths"]
    noise = tf.concat([cut["regions"], tf.fill(cut["regions"].shape, 7.0)], axis=1)
    assert_close(forced(model, {**inputs, "regions": noise}), forced(model, cut), atol=1e-6)


CHECKS: dict[str, Callable[[Sample, Path], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}
