"""CIDEr-D of word ids: golden values, and a plain transcription of the formula."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from losses.cider_d import CiderD, Sentences

Sentence = list[int]
# From section 9 of the specification of the self-critical models, where 0 is the end marker.
GOLDEN = [
    [[1, 2, 3, 4, 0], [1, 2, 5, 0]],
    [[1, 6, 3, 0], [6, 3, 4, 0]],
    [[2, 2, 7, 0], [1, 7, 0]],
]


def ngrams(sentence: Sentence) -> Counter[tuple[int, ...]]:
    return Counter(
        tuple(sentence[i : i + n]) for n in range(1, 5) for i in range(len(sentence) - n + 1)
    )


def document_frequencies(images: list[list[Sentence]]) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for references in images:
        found.update({g for reference in references for g in ngrams(reference)})
    return found


def reward(images: list[list[Sentence]]) -> CiderD:
    found = document_frequencies(images)
    return CiderD(
        lambda rows: np.array([found[tuple(row)] for row in rows.tolist()], np.int32), len(images)
    )


def score(images: list[list[Sentence]], image: int, hypothesis: Sentence) -> float:
    prepared = reward(images).prepare(sentences(images[image]), repeated(len(images[image]), 1))
    (found,) = prepared.scores(sentences([hypothesis]), np.zeros(1, int))
    return float(found)


@pytest.mark.parametrize(
    ("hypothesis", "image", "expected"),
    [
        ([1, 2, 3, 4, 0], 0, 5.718574),
        ([1, 2, 3, 0], 0, 3.269936),
        ([6, 3, 4, 0], 1, 6.820984),
        ([2, 2, 2, 7, 0], 2, 4.910816),
        ([1, 2, 3, 4], 0, 5.236152),
    ],
)
def test_golden_values(hypothesis: Sentence, image: int, expected: float) -> None:
    assert score(GOLDEN, image, hypothesis) == pytest.approx(expected, abs=2e-6)


def transcribed(images: list[list[Sentence]], image: int, hypothesis: Sentence) -> float:
    frequency = document_frequencies(images)

    def weigh(sentence: Sentence) -> dict[tuple[int, ...], float]:
        return {
            g: n * (math.log(len(images)) - math.log(max(1, frequency[g])))
            for g, n in ngrams(sentence).items()
        }

    ours, total = weigh(hypothesis), 0.0
    for reference in images[image]:
        theirs = weigh(reference)
        apart = max(len(hypothesis) - 1, 0) - max(len(reference) - 1, 0)
        for n in range(1, 5):
            a = {g: w for g, w in ours.items() if len(g) == n}
            b = {g: w for g, w in theirs.items() if len(g) == n}
            norms = math.sqrt(sum(w * w for w in a.values()) * sum(w * w for w in b.values()))
            if norms:
                dot = sum(min(w, b[g]) * b[g] for g, w in a.items() if g in b)
                total += dot / norms * math.exp(-(apart**2) / 72)
    return 10 / 4 * total / len(images[image])


SENTENCES = st.lists(st.integers(0, 4), min_size=1, max_size=8)


@given(
    images=st.lists(st.lists(SENTENCES, min_size=1, max_size=3), min_size=1, max_size=4),
    data=st.data(),
)
def test_batches_score_as_the_formula_does(
    images: list[list[Sentence]], data: st.DataObject
) -> None:
    hypotheses = [data.draw(SENTENCES) for _ in range(2 * len(images))]
    owners = np.repeat(np.arange(len(images)), [len(own) for own in images])
    prepared = reward(images).prepare(sentences([r for own in images for r in own]), owners)
    found = prepared.scores(sentences(hypotheses), repeated(2, len(images)))
    expected = [transcribed(images, i // 2, hypothesis) for i, hypothesis in enumerate(hypotheses)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_to_score() -> None:
    nothing = Sentences(np.zeros(0, int), np.zeros(0, int))
    prepared = reward(GOLDEN).prepare(nothing, np.zeros(0, int))
    assert prepared.scores(nothing, np.zeros(0, int)).shape == (0,)
    assert prepared.scores(sentences([[1, 0]]), np.zeros(1, int)).tolist() == [0.0]


def test_prepared_references_score_what_batches_do() -> None:
    prepared = reward(GOLDEN).prepare(sentences([r for own in GOLDEN for r in own]), repeated(2, 3))
    # Several captions per image in any order, and images without references.
    hypotheses = [[2, 2, 2, 7, 0], [1, 2, 3, 0], [1, 2, 3, 4, 0], [1, 2], [6, 3, 4, 0]]
    for _ in range(2):
        found = prepared.scores(sentences(hypotheses), np.array([2, 0, 0, 9, 1]))
        np.testing.assert_allclose(found, [4.910816, 3.269936, 5.718574, 0, 6.820984], atol=2e-6)


def sentences(rows: list[Sentence]) -> Sentences:
    return Sentences(np.concatenate(rows), np.array([len(row) for row in rows]))


def repeated(times: int, count: int) -> np.ndarray:
    return np.repeat(np.arange(count), times)
