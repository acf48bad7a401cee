"""Graph decoding against a plain Python search on random models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.search import DecodingOptions, decode
from models.r2m import R2M
from tests.models.decoding import reference_search
from tests.models.decoding.random_model import RandomModel


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 7),
    vocabulary=st.integers(9, 14),
    beam_size=st.integers(2, 3),
    max_length=st.integers(1, 8),
    alpha=st.sampled_from([0.0, 0.7, 1.0]),
    sharpness=st.sampled_from([0.5, 2.0, 5.0]),
    returned=st.sampled_from([None, 1, 2]),
)
def test_beam_search_equals_the_python_reference(
    seed, batch, vocabulary, beam_size, max_length, alpha, sharpness, returned
):
    model = RandomModel(seed, batch, vocabulary, sharpness)
    options = DecodingOptions(
        beam_size=beam_size, returned=returned, max_length=max_length, length_normalization=alpha
    )
    found = decode(model, {"image": tf.range(batch)}, options)
    for image in range(batch):
        expected = reference_search.search(
            model.step_one(image), 0, beam_size=beam_size, max_length=max_length, alpha=alpha
        )
        assert len(found.lengths[image]) == (returned or beam_size)
        for place, (tokens, score) in enumerate(expected[:returned]):
            length = int(found.lengths[image, place])
            assert found.tokens[image, place, :length].numpy().tolist() == tokens
            assert not found.tokens[image, place, length:].numpy().any()
            np.testing.assert_allclose(found.scores[image, place], score, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("vocabulary", "beam_size", "suppressed"),
    [(8, 5, (0, 1)), (6, 3, (0, 1)), (5, 2, (0, 1)), (5, 2, (0, 1, 40)), (5, 2, (0, 1, 2))],
)
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_vocabularies_hardly_larger_than_the_beam(vocabulary, beam_size, suppressed, alpha):
    """At the first step, an image has fewer continuations than the search selects."""
    for seed in range(3):
        model = RandomModel(seed, 2, vocabulary, 1.0)
        settings = {"beam_size": beam_size, "max_length": 6, "suppressed": suppressed}
        options = DecodingOptions(length_normalization=alpha, **settings)
        found = decode(model, {"image": tf.range(2)}, options)
        for image in range(2):
            expected = reference_search.search(model.step_one(image), 0, alpha=alpha, **settings)
            for place, (tokens, score) in enumerate(expected):
                length = int(found.lengths[image, place])
                assert found.tokens[image, place, :length].numpy().tolist() == tokens
                np.testing.assert_allclose(found.scores[image, place], score, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("vocabulary", "beam_size", "fits"), [(6, 3, 2), (4, 2, 1), (9, 8, 5)])
def test_vocabularies_too_small_for_the_beam(vocabulary, beam_size, fits):
    model = RandomModel(0, 1, vocabulary, 1.0)
    options = DecodingOptions(beam_size=beam_size, suppressed=(0, 1, vocabulary - 1))
    fault = rf"beam_size={beam_size} is too large for a vocabulary of {vocabulary} words"
    message = rf"{fault}: .* set beam_size to {fits} or less"
    with pytest.raises(ValueError, match=message):
        decode(model, {"image": tf.range(1)}, options)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), max_length=st.integers(1, 8))
def test_greedy_search_equals_a_python_loop(seed, max_length):
    model = RandomModel(seed, 3, 10, 2.0)
    options = DecodingOptions(beam_size=1, max_length=max_length)
    found = decode(model, {"image": tf.range(3)}, options)
    for image in range(3):
        token, mix, log_prob, words = 1, 0, 0.0, []
        step = model.step_one(image)
        while len(words) < max_length and token != 2:
            logits, mix = step(token, mix)
            token = 2 + int(np.argmax(logits[2:]))
            log_prob += float(logits[token] - np.log(np.exp(np.float64(logits)).sum()))
            words.append(token)
        length = int(found.lengths[image, 0])
        assert found.tokens[image, 0, :length].numpy().tolist() == words
        np.testing.assert_allclose(found.scores[image, 0], log_prob, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", ["relational", "lstm"])
def test_beam_search_of_the_real_model_equals_the_reference(decoder):
    keras.utils.set_random_seed(3)
    model = R2M(vocabulary_size=17, units=8, image_features=4, decoder=decoder)
    for variable in model.trainable_variables:
        variable.assign(variable + tf.random.normal(variable.shape, stddev=0.5))
    inputs = {
        "concepts": tf.constant([[4, 5, 6], [7, 0, 0], [0, 0, 0]]),
        "concept_lengths": tf.constant([3, 1, 0]),
    }
    options = DecodingOptions(beam_size=3, max_length=7, suppressed=(0, 1, 16))
    memory = model.encode(inputs)
    found = tf.function(lambda: decode(model, memory, options))()
    for image in range(3):
        one = tf.nest.map_structure(lambda x, i=image: x[i : i + 1], memory)

        def step(token, state, one=one):
            hidden, state = model.step(tf.constant([token]), state, one)
            return model.logits(hidden)[0].numpy(), state

        expected = reference_search.search(
            step, model.initial_state(one, 7), beam_size=3, max_length=7, suppressed=(0, 1, 16)
        )
        for place, (tokens, score) in enumerate(expected):
            length = int(found.lengths[image, place])
            assert found.tokens[image, place, :length].numpy().tolist() == tokens
            np.testing.assert_allclose(found.scores[image, place], score, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "bad", [{"beam_size": 0}, {"max_length": 0}, {"length_normalization": -1.0}]
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DecodingOptions(**bad)
