"""Sampling of captions, word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.decoding.sampling import draw_words, sample_captions
from models.decoding.search import DecodingOptions, decode
from models.layers import ops
from tests.models.small_captioners import MODELS, V, build

EACH, LIMIT, END = 2, 6, 2
SUPPRESSED = (0, 1, V - 1)
SUPPRESSION = ops.suppression(SUPPRESSED, V)


def test_words_are_drawn_as_often_as_they_are_likely() -> None:
    rng, count = np.random.default_rng(0), 20_000
    logits = tf.constant(rng.normal(size=(1, 7)), tf.float32)
    draws = tf.constant(rng.random(count), tf.float32)
    found = np.bincount(draw_words(tf.repeat(logits, count, axis=0), draws), minlength=7) / count
    wanted = tf.nn.softmax(logits)[0].numpy()
    # Within four standard deviations of a relative frequency.
    assert (np.abs(found - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / count)).all()


def test_the_least_and_the_greatest_draw_give_words_that_can_be() -> None:
    logits = tf.constant([[-1e9, 0.0, 0.0, -1e9]])
    assert draw_words(logits, tf.constant([0.0])).numpy().tolist() == [1]
    # The largest number that TensorFlow draws.
    assert draw_words(logits, tf.constant([1 - 2.0**-23])).numpy().tolist() == [2]


@pytest.mark.parametrize("name", list(MODELS))
def test_each_caption_is_that_of_a_plain_loop(name: str) -> None:
    model, inputs = build(name)
    # Some of them end early.
    preference = SUPPRESSION + 2.0 * tf.one_hot(END, V)
    memory = model.encode(inputs)
    draws = np.random.default_rng(1).random((3 * EACH, LIMIT)).astype(np.float32)
    found = sample_captions(
        model, memory, tf.constant(draws), suppression=preference, start_id=1, end_id=END
    )
    tokens, lengths = (x.numpy() for x in found)
    assert tokens.shape == (3 * EACH, LIMIT)
    for row, own in enumerate(draws):
        one = model.encode({k: x[row // EACH : row // EACH + 1] for k, x in inputs.items()})
        state, word, expected = model.initial_state(one, LIMIT), 1, []
        for draw in own:
            hidden, state = model.step(tf.constant([word]), state, one)
            p = tf.nn.softmax(model.logits(hidden) + preference)[0].numpy().astype(np.float64)
            p[list(SUPPRESSED)] = 0
            word = int(np.searchsorted(np.cumsum(p) / p.sum(), draw, side="right"))
            expected.append(word)
            if word == END:
                break
        assert tokens[row].tolist() == expected + [0] * (LIMIT - len(expected))
        assert lengths[row] == len(expected)
    assert lengths.min() < LIMIT


@pytest.mark.parametrize("name", list(MODELS))
def test_the_last_caption_can_be_the_greedy_one(name: str) -> None:
    model, inputs = build(name)
    memory = model.encode(inputs)
    draws = tf.random.stateless_uniform([3, EACH + 1, LIMIT], [0, 1])
    arguments: dict[str, Any] = {"suppression": SUPPRESSION, "start_id": 1, "end_id": END}
    tokens, lengths = sample_captions(
        model, memory, tf.reshape(draws, [-1, LIMIT]), **arguments, greedy_last=True
    )
    drawn = sample_captions(model, memory, tf.reshape(draws[:, :-1], [-1, LIMIT]), **arguments)
    greedy = decode(
        model, memory, DecodingOptions(beam_size=1, max_length=LIMIT, suppressed=SUPPRESSED)
    )
    for found, own, last in (
        (tokens, drawn[0], greedy.tokens),
        (lengths, drawn[1], greedy.lengths),
    ):
        by_image = tf.reshape(found, [3, EACH + 1, -1]).numpy()
        np.testing.assert_array_equal(by_image[:, :-1].reshape(3 * EACH, -1).squeeze(), own)
        np.testing.assert_array_equal(by_image[:, -1].squeeze(), np.squeeze(last))


def test_no_images_no_captions() -> None:
    model, inputs = build("updown")
    memory = model.encode({name: x[:0] for name, x in inputs.items()})
    for greedy_last in (False, True):
        tokens, lengths = sample_captions(
            model, memory, tf.zeros([0, LIMIT]), suppression=SUPPRESSION, start_id=1, end_id=END,
            greedy_last=greedy_last,
        )  # fmt: skip
        assert tokens.shape == (0, LIMIT) and lengths.shape == (0,)
