"""Packed teacher forcing against a plain loop: the same hidden states and the same gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import packed_steps, prepared_weights
from models.layers.linear import Linear
from tests.models.small_captioners import MODELS, TOKENS, build


def plainly(model: Any, memory: Any, lengths: list[int]) -> tf.Tensor:
    """Computes hidden states in a Python loop over all positions, with TensorFlow's gradient."""
    state, outputs = model.initial_state(memory, 6), []
    for step in range(TOKENS.shape[1]):
        hidden, state = model.step(TOKENS[:, step], state, memory)
        outputs.append(hidden)
    hidden = tf.stack(outputs, axis=1)
    return hidden * tf.sequence_mask(lengths, TOKENS.shape[1], hidden.dtype)[:, :, None]


def gradients(model: Any, inputs: Any, hidden_of: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    variables = [v.value for v in model.trainable_variables]
    sources = [*variables, *inputs.values()]
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        hidden = hidden_of(model.encode(inputs))
        weights = tf.constant(rng.normal(size=hidden.shape), hidden.dtype)
        loss = tf.reduce_sum(hidden * weights)
    found = tape.gradient(loss, sources, unconnected_gradients="zero")
    return hidden.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in found]


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_gradients_are_those_of_a_plain_loop(name: str) -> None:
    model, inputs = build(name, "float64")

    def forced(memory: Any, lengths: tf.Tensor) -> tf.Tensor:
        return model.teacher_forced(memory, TOKENS, lengths=lengths)

    in_graph = tf.function(forced, autograph=False)
    for lengths, ways in (
        ([2, 5, 3], (in_graph, forced)),
        ([6, 6, 6], (in_graph,)),
        ([1, 1, 1], (in_graph,)),
    ):
        wanted = gradients(model, inputs, lambda memory, n=lengths: plainly(model, memory, n))
        for way in ways:
            found = gradients(
                model, inputs, lambda memory, n=lengths, run=way: run(memory, tf.constant(n))
            )
            np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12, atol=1e-12)
            for ours, theirs in zip(found[1], wanted[1], strict=True):
                scale = max(1.0, np.abs(theirs).max(initial=0.0))
                np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * scale)


def test_padded_columns_of_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_weights, "_ALIASED", 8)
    model, inputs = build("updown")
    lengths = [2, 5, 3]
    forced = tf.function(
        lambda memory: model.teacher_forced(memory, TOKENS, lengths=tf.constant(lengths)),
        autograph=False,
    )
    wanted = gradients(model, inputs, lambda memory: plainly(model, memory, lengths))
    found = gradients(model, inputs, forced)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    for ours, theirs in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_no_captions_at_all() -> None:
    """A replica may receive no rows of a batch."""
    model, inputs = build("updown")
    none = {name: x[:0] for name, x in inputs.items()}
    hidden, found = gradients(
        model,
        none,
        lambda memory: model.teacher_forced(memory, TOKENS[:0], lengths=tf.zeros([0], tf.int32)),
    )
    assert hidden.shape == (0, 6, 8)
    assert not any(np.any(gradient) for gradient in found)


def test_positions_are_ordered_by_step_and_from_the_longest_caption() -> None:
    packing = packed_steps.pack(tf.constant([1, 3, 2]), tf.constant(4))
    np.testing.assert_array_equal(packing.order, [1, 2, 0])
    np.testing.assert_array_equal(packing.counts, [3, 2, 1, 0])
    np.testing.assert_array_equal(packing.starts, [0, 3, 5, 6])
    np.testing.assert_array_equal(packing.indices, [[1, 0], [2, 0], [0, 0], [1, 1], [2, 1], [1, 2]])
    assert packing.steps == 3


PLAIN = keras.layers.Dense(3)
OURS, OTHER = Linear(3), Linear(3)
SCALE = keras.Variable([0.5, -1.0, 2.0])
for _layer in (PLAIN, OURS, OTHER):
    _layer.build((None, 3))


def looped(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, OURS(x)), (0, x))[1]


@pytest.mark.parametrize(
    ("layer", "separable"),
    [
        (lambda x: OTHER(OURS(x)), True),
        (PLAIN, False),
        (lambda x: OURS(OURS(x)), False),
        (lambda x: OURS(x) * SCALE, False),
        (lambda x: PLAIN(OURS(x)), False),
        (looped, False),
        (lambda x: OURS(x) + tf.random.stateless_normal([3], [1, 2]), True),
        (lambda x: OURS(x) * tf.random.uniform([], 1.0, 1.0), False),
    ],
    ids=["ours", "Dense", "twice", "variable", "both", "loop", "stateless", "stateful"],
)
@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_a_step_may_use_any_layers(layer: Any, separable: bool, in_graph: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = [2, 4, 1]
    inputs, upstream = (rng.normal(size=(3, 4, 3)).astype("f") for _ in range(2))
    start, shared = (tf.constant(rng.normal(size=(3, 3)), tf.float32) for _ in range(2))
    variables = [v.value for v in (*PLAIN.weights, *OURS.weights, *OTHER.weights, SCALE)]

    def step(word: Any, state: Any, memory: Any) -> Any:
        state = tf.tanh(layer(word + state) + memory)
        return 2 * state, state

    def packed(start: tf.Tensor, shared: tf.Tensor) -> tf.Tensor:
        packing = packed_steps.pack(tf.constant(lengths), tf.constant(4))
        given = tf.gather_nd(inputs, packing.indices)
        rows = [tf.gather(x, packing.order) for x in (start, shared)]
        hidden = packed_steps.run(step, given, *rows, packing=packing)
        return tf.scatter_nd(packing.indices, hidden, [3, 4, 3])

    def plain(start: tf.Tensor, shared: tf.Tensor) -> tf.Tensor:
        outputs, state = [], start
        for t in range(4):
            hidden, state = step(inputs[:, t], state, shared)
            outputs.append(hidden)
        return tf.stack(outputs, 1) * tf.sequence_mask(lengths, 4, tf.float32)[:, :, None]

    given = packed_steps._find_products(step, tf.constant(inputs[:, 0]), start, shared)
    assert given.separable == separable
    found = []
    for run in (packed, plain):

        def differentiate(run: Any = run) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([start, shared])
                hidden = run(start, shared)
                loss = tf.reduce_sum(hidden * upstream)
            sources = [start, shared, *variables]
            gradients = tape.gradient(loss, sources, unconnected_gradients="zero")
            return hidden, *map(tf.convert_to_tensor, gradients)

        graph = tf.function(differentiate, autograph=False)
        found.append((graph if in_graph else differentiate)())
    for ours, derived in zip(*found, strict=True):
        np.testing.assert_allclose(ours, derived, rtol=1e-5, atol=1e-6)
