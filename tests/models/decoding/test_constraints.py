"""Constraints on words, and length penalties, against plain Python."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.options import DecodingOptions, contains
from models.decoding.scores import score
from models.decoding.search import Captions, decode
from tests.models.decoding import reference_search
from tests.models.decoding.random_model import RandomModel

END = 2


def rule(options: DecodingOptions) -> Callable[[list[int], int], bool]:
    """Returns a function (words, word) -> whether `word` may follow `words`."""

    def allowed(words: list[int], word: int) -> bool:
        longer = (*words, word)
        if options.block_repeats and words and words[-1] == word:
            return False
        ends = word == END
        if ends and len(words) < options.min_length:
            return False
        if ends and words and words[-1] in options.bad_endings:
            return False
        if len(longer) == options.max_length and word in options.bad_endings:
            return False
        if options.block_trigrams and len(longer) > 2 and contains(longer[:-1], longer[-3:]):
            return False
        return not any(contains(longer, phrase) for phrase in options.excluded)

    return allowed


def divisor(options: DecodingOptions) -> Callable[[int], float]:
    alpha = options.length_normalization
    if options.length_penalty == "wu":
        return lambda n: ((5 + n) / 6) ** alpha
    return lambda n: n**alpha


def rows(found: Captions, image: int) -> list[tuple[list[int], float]]:
    """Returns the captions of an image, without empty places, and their scores."""
    return [
        (found.tokens[image, place, :length].numpy().tolist(), float(found.scores[image, place]))
        for place, length in enumerate(found.lengths[image].numpy())
        if length
    ]


constrained = st.fixed_dictionaries(
    {
        "block_repeats": st.booleans(),
        "block_trigrams": st.booleans(),
        "bad_endings": st.sampled_from([(), (3, 5), (4,)]),
        "min_length": st.integers(0, 4),
        "excluded": st.sampled_from([(), ((6,),), ((3, 4), (5, 5, 7))]),
        "length_penalty": st.sampled_from(["power", "wu"]),
        "length_normalization": st.sampled_from([0.4, 0.9, 2.0]),
        "max_length": st.integers(5, 9),
    }
)


def greedy(model: RandomModel, image: int, options: DecodingOptions) -> list[int]:
    """Returns the words of greedy search."""
    step, token, mix, words = model.step_one(image), 1, 0, list[int]()
    while len(words) < options.max_length and token != END:
        logits, mix = step(token, mix)
        order = [int(word) for word in np.argsort(-logits, kind="stable") if word > 1]
        fitting = [word for word in order if rule(options)(words, word)]
        if not fitting:
            break
        token = fitting[0]
        words.append(token)
    return words


def likelihood(model: RandomModel, image: int, words: list[int]) -> float:
    step, mix, total = model.step_one(image), 0, 0.0
    for last, word in itertools.pairwise([1, *words]):
        logits, mix = step(last, mix)
        total += float(logits[word] - np.log(np.exp(np.float64(logits)).sum()))
    return total


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beam_size=st.integers(1, 3),
    returned=st.integers(1, 3),
    constraints=constrained,
    # Sharp distributions repeat words.
    sharpness=st.sampled_from([1.0, 4.0]),
)
def test_constrained_search_equals_plain_python(
    seed: int, beam_size: int, returned: int, constraints: dict[str, Any], sharpness: float
) -> None:
    model = RandomModel(seed, 2, 10, sharpness)
    returned = min(beam_size, returned)
    options = DecodingOptions(beam_size=beam_size, returned=returned, **constraints)
    found = decode(model, {"image": tf.range(2)}, options)
    for image in range(2):
        got = rows(found, image)
        if beam_size == 1:
            expected = [greedy(model, image, options)]
        else:
            every = reference_search.search(
                model.step_one(image), 0, beam_size=beam_size, max_length=options.max_length,
                divisor=divisor(options), allowed=rule(options),
            )[:returned]  # fmt: skip
            expected = [words for words, _ in every]
        assert [words for words, _ in got] == expected
        for place, (words, own) in enumerate(got):
            log_p = likelihood(model, image, words)
            np.testing.assert_allclose(own, log_p / divisor(options)(len(words)), rtol=1e-4)
            np.testing.assert_allclose(found.log_probabilities[image, place], log_p, rtol=1e-4)
        # Truncated captions fill empty places.
        scores = [own for words, own in got if words[-1] == END]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("penalty", [("power", 0.0), ("power", 1.0), ("power", 2.0), ("wu", 0.9)])
@pytest.mark.parametrize("min_length", [0, 2])
def test_beams_that_hold_all_captions_find_the_best(
    penalty: tuple[str, float], min_length: int
) -> None:
    model = RandomModel(7, 3, 35, 1.0)
    model.table[..., 6:] -= 50.0  # three words and the end
    kind, alpha = penalty
    options = DecodingOptions(
        beam_size=27, returned=5, max_length=4, min_length=min_length,
        length_penalty=kind, length_normalization=alpha,
    )  # fmt: skip
    found = decode(model, {"image": tf.range(3)}, options)
    captions = [
        [*words, END]
        for length in range(min_length, 4)
        for words in itertools.product((3, 4, 5), repeat=length)
    ]
    for image in range(3):
        scored = [
            (likelihood(model, image, words) / divisor(options)(len(words)), words)
            for words in captions
        ]
        best = sorted(scored, reverse=True)[:5]
        assert [words for words, _ in rows(found, image)] == [words for _, words in best]


def test_length_penalties_have_their_published_values() -> None:
    # wu_0.9 divides by 2.2811 at ten words and by 3.6125 at twenty.
    options = DecodingOptions(length_penalty="wu", length_normalization=0.9)
    found = score(tf.constant([-1.0, -1.0]), tf.constant([10, 20]), options)
    np.testing.assert_allclose(-1 / found.numpy(), [2.2811, 3.6125], atol=1e-4)


def test_words_that_leave_no_choice_end_a_caption() -> None:
    model = RandomModel(0, 2, 5, 1.0)
    excluded = ((3, 4), (4, 3))
    for beam_size, words in ((1, 1), (2, 0)):
        options = DecodingOptions(
            beam_size=beam_size, block_repeats=True, min_length=3, max_length=4, excluded=excluded,
            length_normalization=0.7,
        )  # fmt: skip
        found = decode(model, {"image": tf.range(2)}, options)
        assert (found.lengths.numpy() == words).all()
        assert END not in found.tokens.numpy()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_penalty": "wo"}, "length_penalty must be one of power, wu, found 'wo'"),
        ({"length_penalty": "wu"}, "length_penalty='wu' needs length_normalization above 0"),
        ({"min_length": -1}, "min_length must be at least 0, found -1"),
        ({"min_length": 20}, "min_length=20 must be below max_length=20, which includes the end"),
        ({"beam_groups": 2}, "beam_groups=2 must divide beam_size=3"),
        ({"beam_groups": 0}, "beam_groups must be at least 1, found 0"),
        ({"diversity": -0.1}, "diversity must be a number of at least 0, found -0.1"),
        ({"returned": 4}, "returned=4 must be between 1 and beam_size=3"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DecodingOptions(**options)
