"""Packed teacher forcing against a plain loop: the same hidden states and the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers import packed_steps
from tests.models.small_captioners import MODELS, TOKENS, build


def plainly(model: Any, memory: Any, lengths: list[int]) -> tf.Tensor:
    """A loop in Python over all positions, and TensorFlow's own gradient."""
    state, outputs = model.initial_state(memory), []
    for step in range(TOKENS.shape[1]):
        hidden, state = model.step(TOKENS[:, step], state, memory)
        outputs.append(hidden)
    real = tf.sequence_mask(lengths, TOKENS.shape[1], tf.float32)
    return tf.stack(outputs, axis=1) * real[:, :, None]


def gradients(model: Any, inputs: Any, hidden_of: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    variables = [v.value for v in model.trainable_variables]
    sources = [*variables, *inputs.values()]
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        hidden = hidden_of(model.encode(inputs))
        weights = tf.constant(rng.normal(size=hidden.shape), tf.float32)
        loss = tf.reduce_sum(hidden * weights)
    found = tape.gradient(loss, sources, unconnected_gradients="zero")
    return hidden.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in found]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lengths", [[6, 6, 6], [2, 5, 3], [1, 1, 1]], ids=str)
def test_hidden_states_and_gradients_are_those_of_a_plain_loop(
    name: str, lengths: list[int]
) -> None:
    model, inputs = build(name)
    wanted = gradients(model, inputs, lambda memory: plainly(model, memory, lengths))

    @tf.function(autograph=False)
    def in_graph(memory: Any) -> tf.Tensor:
        return model.teacher_forced(memory, TOKENS, lengths=tf.constant(lengths))

    for way in (
        in_graph,
        lambda memory: model.teacher_forced(memory, TOKENS, lengths=tf.constant(lengths)),
    ):
        found = gradients(model, inputs, way)
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
        for ours, theirs in zip(found[1], wanted[1], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_no_captions_at_all() -> None:
    """A replica may get none of the rows of a batch."""
    model, inputs = build("updown")
    none = {name: x[:0] for name, x in inputs.items()}
    hidden, found = gradients(
        model,
        none,
        lambda memory: model.teacher_forced(memory, TOKENS[:0], lengths=tf.zeros([0], tf.int32)),
    )
    assert hidden.shape == (0, 6, 8)
    assert not any(np.any(gradient) for gradient in found)


def test_places_are_run_through_step_by_step_from_the_longest() -> None:
    packing = packed_steps.pack(tf.constant([1, 3, 2]), tf.constant(4))
    np.testing.assert_array_equal(packing.order, [1, 2, 0])
    np.testing.assert_array_equal(packing.counts, [3, 2, 1, 0])
    np.testing.assert_array_equal(packing.starts, [0, 3, 5, 6])
    np.testing.assert_array_equal(packing.places, [[1, 0], [2, 0], [0, 0], [1, 1], [2, 1], [1, 2]])
    assert packing.steps == 3


def test_a_layer_may_be_used_once_a_step() -> None:
    layer = packed_steps.Linear(2)
    layer.build((None, 2))
    ones = tf.ones([1, 2])
    with pytest.raises(ValueError, match="used twice in a step"):
        packed_steps.run(
            lambda now, state, _: (layer(layer(now)), state),
            ones,
            (ones,),
            {},
            layers=[layer],
            units=2,
            packing=packed_steps.pack(tf.constant([1]), tf.constant(1)),
        )
