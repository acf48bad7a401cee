from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.show_and_tell import LSTM
from models.decoding.scheduled_sampling import sampled_inputs, sampling_probability

V, N, T = 9, 4000, 5


@pytest.fixture(scope="module")
def setup() -> tuple[Any, Any, tf.Tensor, np.random.Generator]:
    keras.utils.set_random_seed(0)
    model = LSTM(vocabulary_size=V, feature_size=3, grid_cells=2, units=4, word_size=4)
    model.word_output.kernel.assign(3 * model.word_output.kernel)
    rng = np.random.default_rng(0)
    memory = model.encode({"regions": tf.constant(rng.normal(size=(1, 2, 3)), tf.float32)})
    memory = {name: tf.repeat(x, N, axis=0) for name, x in memory.items()}
    tokens = tf.constant(np.tile(rng.integers(3, V, (1, T)), (N, 1)), tf.int32)
    return model, memory, tokens, rng


def run(setup: Any, probability: float) -> np.ndarray:
    model, memory, tokens, rng = setup
    uniform = [tf.constant(rng.random((N, T)), tf.float32) for _ in range(2)]
    return sampled_inputs(
        model, memory, tokens,
        probability=tf.constant(probability), choices=uniform[0], draws=uniform[1],
    ).numpy()  # fmt: skip


def test_nothing_is_replaced_at_0(setup: Any) -> None:
    np.testing.assert_array_equal(run(setup, 0.0), setup[2])


def test_the_start_stays_and_the_second_word_is_drawn_from_the_model(setup: Any) -> None:
    model, memory, tokens, _ = setup
    fed = run(setup, 1.0)
    np.testing.assert_array_equal(fed[:, 0], tokens[:, 0])
    one = {name: x[:1] for name, x in memory.items()}
    hidden, _ = model.step(tokens[:1, 0], model.initial_state(one, 1), one)
    wanted = tf.nn.softmax(model.logits(hidden))[0].numpy()
    found = np.bincount(fed[:, 1], minlength=V) / N
    # Within four standard deviations of a relative frequency.
    assert (np.abs(found - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / N) + 1e-9).all()


def test_words_are_replaced_as_often_as_asked(setup: Any) -> None:
    fed, tokens = run(setup, 0.25), setup[2].numpy()
    # A drawn word may equal the word of the caption, so at most the replaced words differ.
    share = (fed[:, 1:] != tokens[:, 1:]).mean()
    assert 0.1 < share < 0.26


def test_draws_at_both_ends_are_words(setup: Any) -> None:
    model, memory, tokens, _ = setup
    for draw in (0.0, 1.0 - 2.0**-24):
        fed = sampled_inputs(
            model, memory, tokens, probability=tf.constant(1.0),
            choices=tf.zeros([N, T]), draws=tf.fill([N, T], draw),
        )  # fmt: skip
        assert int(tf.reduce_min(fed)) >= 0 and int(tf.reduce_max(fed)) < V


def test_schedule_is_the_published_one() -> None:
    # With start 0: 0 in epochs 0-4, 0.05 in epochs 5-9, ..., 0.25 from epoch 25 on.
    found = [
        float(sampling_probability(tf.constant(e), start=0, every=5, increase=0.05, most=0.25))
        for e in range(32)
    ]
    wanted = [min(0.05 * (e // 5), 0.25) for e in range(32)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    late = sampling_probability(tf.constant(3), start=10, every=5, increase=0.05, most=0.25)
    assert float(late) == 0.0
