"""Checks that every captioner must pass; `tests/models/test_captioners.py` runs them."""

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
    """Returns a model that is shared by checks, none of which changes its weights."""
    keras.utils.set_random_seed(0)
    return sample.build()


@functools.cache
def half_precision(sample: Sample) -> Captioner:
    """Returns the same model in half precision, which is also shared."""
    model = sample.build(name="my_name", dtype="mixed_bfloat16")
    model.set_weights(built(sample).get_weights())
    return model


@functools.cache
def built_hidden(sample: Sample) -> Any:
    """Returns the hidden states [B, T, H] of `built` for `TOKENS`."""
    return forced(built(sample), sample.inputs(B))


def forced(
    model: Captioner,
    inputs: dict[str, tf.Tensor],
    tokens: tf.Tensor = TOKENS,
    training: bool = False,
    **kwargs: Any,
) -> Any:
    memory = model.encode(inputs, training=training)
    return model.teacher_forced(memory, tokens, training=training, **kwargs)


def flat_logits(model: Captioner, hidden: Any) -> tf.Tensor:
    """Returns the logits of all words: [N, T, H] -> [N * T, V]."""
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
    model, inputs, hidden = built(sample), sample.inputs(B), built_hidden(sample)
    for part in tf.nest.flatten(hidden):
        assert part.shape[:2] == (B, T)
    logits = flat_logits(model, hidden)
    assert logits.shape == (B * T, V) and logits.dtype == tf.float32
    called = model({**inputs, "tokens": TOKENS})
    np.testing.assert_allclose(called, tf.reshape(logits, [B, T, V]), atol=1e-5)
    with pytest.raises(ValueError, match=r"missing input .*: found tokens, required "):
        model({"tokens": TOKENS})
    if isinstance(model, Ensemble):
        with pytest.raises(ValueError, match="an ensemble has no softmax layer"):
            _ = model.output_layer
        return
    weights, bias = model.output_layer
    rows = tf.reshape(hidden, [B * T, -1])
    assert weights.shape == (V, rows.shape[1]) and bias.shape == (V,)
    np.testing.assert_allclose(logits, rows @ tf.transpose(weights) + bias, atol=1e-5)


def check_teacher_forcing_is_steps(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    memory, hidden = model.encode(inputs), built_hidden(sample)
    state = model.initial_state(memory, T)
    for step in range(T):
        output, state = model.step(TOKENS[:, step], state, memory)
        assert_close(output, tf.nest.map_structure(lambda x, t=step: x[:, t], hidden), atol=2e-6)
    # In a graph, steps are packed.
    in_graph = tf.function(model.teacher_forced, autograph=False)
    short = in_graph(memory, TOKENS, LENGTHS)
    real = tf.sequence_mask(LENGTHS, T, tf.float32)[:, :, None]
    assert_close(short, tf.nest.map_structure(lambda x: x * real, hidden), atol=2e-6)


def check_images_are_independent(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    for i in range(B):
        one = {name: x[i : i + 1] for name, x in inputs.items()}
        alone = forced(model, one, TOKENS[i : i + 1, :3])
        together = tf.nest.map_structure(lambda x, i=i: x[i : i + 1, :3], built_hidden(sample))
        assert_close(alone, together, atol=5e-6)


def check_captions_share_an_image(sample: Sample, _: Path) -> None:
    """Checks that two captions of one image equal the captions of two equal images."""
    model = built(sample)
    tokens = tf.concat([TOKENS, TOKENS[::-1]], axis=0)[:, :3]
    lengths = tf.constant([3, 1, 2, 0, 3, 3])
    memory = model.encode(sample.inputs(B))
    alone = image_rows.repeat(memory, 6)
    shared, apart = (model.teacher_forced(given, tokens, lengths) for given in (memory, alone))
    assert tf.nest.flatten(shared)[0].shape[0] == 6
    assert_close(shared, apart, atol=1e-6)
    state = model.initial_state(alone, T)
    given = model.expand_memory(memory, 6)
    shared, apart = (model.step(tokens[:, 0], state, own)[0] for own in (given, alone))
    assert_close(shared, apart, atol=1e-6)


def check_every_weight_has_a_name(sample: Sample, _: Path) -> None:
    """Checks that weights have unique paths, which identify them in checkpoints and logs."""
    paths = [variable.path for variable in built(sample).trainable_variables]
    if not isinstance(built(sample), Ensemble):
        assert len(set(paths)) == len(paths), sorted(p for p in paths if paths.count(p) > 1)


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
    plain = built_hidden(sample)
    assert_close(forced(model, inputs), plain, rtol=0)
    if any(getattr(layer, "rate", 0) for layer in model._flatten_layers()):
        dropped = forced(model, inputs, training=True)
        pairs = zip(tf.nest.flatten(dropped), tf.nest.flatten(plain), strict=True)
        assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


def check_half_precision_follows_float32(sample: Sample, _: Path) -> None:
    """Checks half precision, which rounds activations to 8 bits; includes padded rows."""
    plain, inputs = built(sample), sample.inputs(B)
    half = half_precision(sample)
    wanted = forced(plain, inputs, lengths=LENGTHS)
    variables = [v.value for v in half.trainable_variables]
    with tf.GradientTape() as tape:
        hidden = forced(half, inputs, lengths=LENGTHS)
        loss = tf.reduce_sum(flat_logits(half, hidden) ** 2)
    assert all(x.dtype == tf.bfloat16 for x in tf.nest.flatten(hidden))
    for found, expected in zip(tf.nest.flatten(hidden), tf.nest.flatten(wanted), strict=True):
        # The maximum of the rounding errors depends on the CPU; their mean hardly does.
        error = np.abs(tf.cast(found, tf.float32) - expected)
        scale = max(1.0, float(tf.reduce_max(tf.abs(expected))))
        assert np.sqrt(np.mean(error**2)) < 0.01 * scale and np.max(error) < 0.04 * scale
    for gradient in tape.gradient(loss, variables, unconnected_gradients="zero"):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def check_config_and_file_round_trip(sample: Sample, folder: Path) -> None:
    model = half_precision(sample)
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    hidden = [forced(m, sample.inputs(B), TOKENS[:, :2]) for m in (model, again, loaded)]
    policies = [layer.dtype_policy for layer in model._flatten_layers()]
    assert model.name == "my_name" and model.dtype_policy.name == "mixed_bfloat16"
    assert again.get_config() == model.get_config()
    for copy, found in zip((again, loaded), hidden[1:], strict=True):
        assert type(copy) is type(model) and copy.name == model.name
        assert [layer.dtype_policy for layer in copy._flatten_layers()] == policies
        assert_close(found, hidden[0], rtol=0)


def check_a_training_step_lowers_the_loss(sample: Sample, _: Path) -> None:
    model, inputs, tokens = built(sample), sample.inputs(B), TOKENS[:, :4]
    variables = [v.value for v in model.trainable_variables]
    weights = model.get_weights()
    with tf.GradientTape() as tape:
        before = cross_entropy(model, inputs, tokens)
    gradients = tape.gradient(before, variables, unconnected_gradients="zero")
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.05 * tf.convert_to_tensor(gradient))
    after = cross_entropy(model, inputs, tokens)
    model.set_weights(weights)
    assert after < before


def check_search_is_a_plain_loop(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    options = DecodingOptions(beam_size=1, max_length=4)
    memory = model.encode(inputs)
    # In a graph, weights are prepared.
    greedy = tf.function(lambda: decode(model, memory, options), autograph=False)()
    state, words = model.initial_state(memory, 4), tf.ones([B], tf.int32)
    alive = np.full(B, True)
    for t in range(4):
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


def check_every_method_returns_the_likelihood_of_the_model(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    memory = model.encode(inputs)
    shared: dict[str, Any] = {"returned": 2, "max_length": 3, "length_normalization": 1.0}
    for options in (
        DecodingOptions(beam_size=2, required=((4,),), **shared),
        DecodingOptions(beam_size=4, beam_groups=2, block_repeats=True, **shared),
        DecodingOptions(method="sample", min_length=1, top_p=0.9, **shared),
    ):
        found = decode(model, memory, options)
        assert found.tokens.shape == (B, 2, 3) and (found.lengths.numpy() > 0).all()
        tokens = tf.reshape(found.tokens, [B * 2, 3])
        fed = tf.concat([tf.ones([B * 2, 1], tf.int32), tokens[:, :-1]], axis=1)
        hidden = model.teacher_forced(memory, fed)
        each = tf.nn.log_softmax(tf.reshape(flat_logits(model, hidden), [B * 2, 3, -1]))
        each = tf.gather(each, tokens, batch_dims=2)
        log_probs = tf.reduce_sum(tf.where(tokens > 0, each, 0.0), axis=1)
        expected = tf.reshape(log_probs, [B, 2])
        np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-3, atol=1e-4)
        scores = expected / tf.cast(found.lengths, tf.float32)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-3, atol=1e-4)
        if options.required:
            assert tf.reduce_any(found.tokens == 4, axis=-1).numpy().all()


def check_an_ensemble_of_one_is_the_model(sample: Sample, _: Path) -> None:
    model, inputs = built(sample), sample.inputs(B)
    ensemble = Ensemble(members=[model, model], member_inputs=[list(inputs)] * 2)
    first_words = tf.nest.map_structure(lambda x: x[:, 0], built_hidden(sample))
    wanted = tf.nn.log_softmax(model.logits(first_words))
    memory = ensemble.encode(inputs)
    hidden = ensemble.teacher_forced(memory, TOKENS[:, :1])
    np.testing.assert_allclose(flat_logits(ensemble, hidden), wanted, atol=1e-5)
    state = ensemble.initial_state(memory, T)
    hidden, _ = ensemble.step(TOKENS[:, 0], state, memory)
    np.testing.assert_allclose(ensemble.logits(hidden), wanted, atol=1e-5)


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
    cut = {name: x for name, x in inputs.items() if name != "region_lengths"}
    cut |= {name: cut[name][:, :2] for name in ("regions", "boxes") if name in cut}
    noise = tf.concat([cut["regions"], tf.fill(cut["regions"].shape, 7.0)], axis=1)
    padded = {**inputs, "regions": noise, "region_lengths": tf.constant([2, 2, 2])}
    ours, theirs = (forced(model, given, TOKENS[:, :2]) for given in (padded, cut))
    assert_close(ours, theirs, atol=1e-6)


CHECKS: dict[str, Callable[[Sample, Path], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}
