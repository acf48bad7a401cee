"""Diverse beam search against plain Python (Vijayakumar et al. 2016, algorithm 1)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.options import DecodingOptions
from models.decoding.search import decode
from tests.models.decoding.random_model import RandomModel
from tests.models.decoding.test_constraints import END, divisor, likelihood, rows


def diverse(model: RandomModel, image: int, options: DecodingOptions) -> list[list[int]]:
    """Returns the best caption of each group, in the order of groups."""
    width = options.beam_size // options.beam_groups
    alive = [[(0.0, [1], 0)] for _ in range(options.beam_groups)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in alive]
    step = model.step_one(image)
    for length in range(1, options.max_length + 1):
        used: Counter[int] = Counter()
        for group, living in enumerate(alive):
            continuations = []
            for rank, words, mix in living:
                logits, after = step(words[-1], mix)
                log_p = np.float64(logits) - np.log(np.exp(np.float64(logits)).sum())
                continuations += [
                    (rank + own - options.diversity * used[word], [*words, word], after)
                    for word, own in enumerate(log_p)
                    if word > 1
                ]
            continuations.sort(key=lambda found: -found[0])
            best = continuations[: 2 * width]
            finished[group] += [
                (rank / divisor(options)(length), words[1:])
                for rank, words, _ in best
                if words[-1] == END
            ]
            alive[group] = [found for found in best if found[1][-1] != END][:width]
            used.update(words[-1] for _, words, _ in alive[group])
    return [
        max(found)[1] if found else living[0][1][1:]
        for found, living in zip(finished, alive, strict=True)
    ]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    groups=st.sampled_from([(2, 2), (3, 1), (2, 1), (1, 3)]),
    diversity=st.sampled_from([0.0, 0.5, 3.0]),
    alpha=st.sampled_from([0.0, 0.7]),
    max_length=st.integers(2, 7),
)
def test_each_group_finds_its_best(
    seed: int, groups: tuple[int, int], diversity: float, alpha: float, max_length: int
) -> None:
    model = RandomModel(seed, 3, 12, 2.0)
    count, width = groups
    options = DecodingOptions(
        beam_size=count * width, beam_groups=count, returned=count, diversity=diversity,
        length_normalization=alpha, max_length=max_length,
    )  # fmt: skip
    found = decode(model, {"image": tf.range(3)}, options)
    for image in range(3):
        expected = diverse(model, image, options)
        if count > 1:
            assert sorted(words for words, _ in rows(found, image)) == sorted(expected)
        else:
            assert rows(found, image)[0][0] == expected[0]
        for place, (words, own) in enumerate(rows(found, image)):
            log_p = likelihood(model, image, words)
            np.testing.assert_allclose(own, log_p / divisor(options)(len(words)), rtol=1e-4)
            np.testing.assert_allclose(found.log_probabilities[image, place], log_p, rtol=1e-4)
        scores = [own for words, own in rows(found, image) if words[-1] == END]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("options", [{}, {"block_trigrams": True}])
def test_without_diversity_groups_are_equal_beams(options: dict[str, Any]) -> None:
    model = RandomModel(5, 2, 12, 1.0)
    memory = {"image": tf.range(2)}
    shared = {"max_length": 6, **options}
    plain = decode(model, memory, DecodingOptions(beam_size=2, **shared))
    groups = decode(
        model, memory, DecodingOptions(beam_size=4, beam_groups=2, diversity=0.0, **shared)
    )
    np.testing.assert_array_equal(groups.tokens, tf.repeat(plain.tokens, 2, axis=1))
