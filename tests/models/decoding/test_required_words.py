"""Search for captions with required words, against enumeration of all captions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.options import DecodingOptions, contains
from models.decoding.search import Captions, decode
from tests.models.decoding.random_model import RandomModel
from tests.models.decoding.test_constraints import END, divisor, likelihood, rows, rule

PHRASES = ((4,), (5, 6), (6, 7), (3, 3, 4))


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beam_size=st.integers(1, 3),
    required=st.sets(st.sampled_from(PHRASES), min_size=1, max_size=3),
    constraints=st.sampled_from(
        [{}, {"min_length": 8}, {"bad_endings": (4, 6)}, {"excluded": ((8,), (4, 5))}]
    ),
)
def test_required_words_are_found(
    seed: int, beam_size: int, required: set[Any], constraints: dict[str, Any]
) -> None:
    model = RandomModel(seed, 2, 10, 3.0)
    options = DecodingOptions(
        beam_size=beam_size, max_length=12, length_penalty="wu", length_normalization=0.9,
        required=tuple(required), **constraints,
    )  # fmt: skip
    found = decode(model, {"image": tf.range(2)}, options)
    alone = decode(model, {"image": tf.range(1)}, options)
    for image in range(2):
        captions = rows(found, image)
        assert captions and len({tuple(words) for words, _ in captions}) == len(captions)
        for place, (words, own) in enumerate(captions):
            assert all(contains(tuple(words), phrase) for phrase in required)
            assert all(rule(options)(words[:i], word) for i, word in enumerate(words))
            log_p = likelihood(model, image, words)
            np.testing.assert_allclose(own, log_p / divisor(options)(len(words)), rtol=1e-4)
            np.testing.assert_allclose(found.log_probabilities[image, place], log_p, rtol=1e-4)
        scores = [own for words, own in captions if words[-1] == END]
        assert scores == sorted(scores, reverse=True)
    assert_equal(alone, found, 0)


def assert_equal(alone: Captions, found: Captions, image: int) -> None:
    """Asserts that an image has the same captions alone and in a batch."""
    np.testing.assert_array_equal(alone.tokens[0], found.tokens[image])
    np.testing.assert_allclose(alone.scores[0], found.scores[image], rtol=1e-5)


def test_beams_that_hold_all_captions_find_the_best() -> None:
    model = RandomModel(3, 2, 35, 1.0)
    model.table[..., 6:] -= 50.0  # three words and the end
    options = DecodingOptions(
        beam_size=27, returned=3, max_length=4, length_normalization=0.7, required=((4,), (5,))
    )
    found = decode(model, {"image": tf.range(2)}, options)
    captions = [
        [*words, END]
        for length in range(2, 4)
        for words in itertools.product((3, 4, 5), repeat=length)
        if {4, 5} <= set(words)
    ]
    for image in range(2):
        scored = sorted(
            (likelihood(model, image, words) / len(words) ** 0.7, words) for words in captions
        )
        assert [words for words, _ in rows(found, image)] == [w for _, w in scored[:-4:-1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"required": ((3, 4),), "excluded": ((4,),)}, "(3, 4) contain (4,), which are excluded"),
        ({"required": ((3, 4, 5),), "excluded": ((4, 5),)}, "contain (4, 5), which are excluded"),
        ({"required": ((9,),), "suppressed": (0, 1, 9)}, "(9,) contain (9,), which are excluded"),
        ({"required": ((3, 3),), "block_repeats": True}, "repeat a word, which block_repeats"),
        ({"required": ((3,),), "method": "sample"}, "plain beam search, found method 'sample'"),
        ({"required": ((3,),), "beam_groups": 3}, "require plain beam search, found beam_groups"),
        ({"required": ((3, 4),), "max_length": 2}, "2 required words and the end marker do not"),
    ],
)  # fmt: skip
def test_required_words_that_contradict_other_options(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        DecodingOptions(**options)
    assert message in str(refusal.value)
