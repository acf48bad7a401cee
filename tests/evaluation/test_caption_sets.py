"""Diversity, oracle and mean scores, against plain implementations of their definitions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2m.evaluation.caption_scores import score_captions
from r2m.evaluation.caption_sets import (
    distinct_ngrams,
    measure_diversity,
    score_caption_sets,
    spread,
)
from r2m.evaluation.cider import Cider
from tfrecords.core.errors import InputError

REFERENCES = {
    "a": ["a dog runs on the green grass", "the brown dog is running"],
    "b": ["two men play football", "men playing soccer on a green field", "a game of football"],
    "c": ["a woman holds a red umbrella", "a woman in the rain with an umbrella"],
}
CAPTIONS = {
    "b": ["men play football", "two men on a field", "two men play a game"],
    "a": ["a dog runs", "a dog runs on grass", "a dog runs"],
    "c": ["a woman with an umbrella in the rain", "a man"],
}
GROUPS = list(REFERENCES.values())


def _ngrams(text: str, order: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def _plain_kernel(captions: list[str]) -> np.ndarray:
    """Computes cosines of TF-IDF vectors, averaged over n-gram orders."""
    found = np.zeros((len(captions), len(captions)))
    for order in range(1, 5):
        seen = [set().union(*(_ngrams(text, order) for text in group)) for group in GROUPS]
        vectors = [
            {
                ngram: count * math.log(len(GROUPS) / max(1, sum(ngram in own for own in seen)))
                for ngram, count in _ngrams(text, order).items()
            }
            for text in captions
        ]
        norms = [math.sqrt(sum(x * x for x in vector.values())) for vector in vectors]
        for i, one in enumerate(vectors):
            for j, other in enumerate(vectors):
                if norms[i] and norms[j]:
                    dot = sum(x * other.get(ngram, 0.0) for ngram, x in one.items())
                    found[i, j] += dot / norms[i] / norms[j] / 4
    return found


def test_kernels_are_the_mean_cosines_of_tf_idf_vectors() -> None:
    sets = [[*CAPTIONS["a"], ""], ["zebras"], CAPTIONS["b"], CAPTIONS["c"]]
    for own, kernel in zip(sets, Cider(GROUPS).kernels(sets), strict=True):
        np.testing.assert_allclose(kernel, _plain_kernel(own), atol=1e-12)


def test_references_are_scored_against_the_others_of_their_image() -> None:
    """With two references per image, each is scored against the other one, as by `Cider.score`."""
    groups = [["a red dog", "a dog runs here"], ["one cat"], ["two men", "two men sit"]]
    cider = Cider(groups)
    found = cider.score_references()
    assert found.shape == (4,)
    swapped = [[group[-1]] for group in groups]
    both = Cider(groups)
    both._references = both._measure.prepare(
        both._sentences([group[0] for group in swapped]), np.arange(3)
    )
    assert found[[0, 2]] == pytest.approx(both.score([group[0] for group in groups])[[0, 2]])
    assert Cider([["a dog"], ["one cat"]]).score_references().shape == (0,)


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=2, max_size=6)
)
@settings(max_examples=60, deadline=None)
def test_self_cider_is_from_0_for_equal_captions_to_1(captions: list[str]) -> None:
    cider = Cider([["a b c", "b d"], ["e f", "a g"]])
    (kernel,) = cider.kernels([captions])
    assert np.linalg.eigvalsh(kernel).min() > -1e-9
    assert -1e-9 <= spread(kernel) <= 1 + 1e-9
    (equal,) = cider.kernels([[captions[0]] * 3])
    assert spread(equal) == pytest.approx(0, abs=1e-7)


def test_self_cider_of_captions_without_a_common_word_is_1() -> None:
    assert spread(np.eye(4)) == pytest.approx(1)
    # Singular values sqrt(1.5) and sqrt(0.5), by hand.
    expected = -math.log2(math.sqrt(1.5) / (math.sqrt(1.5) + math.sqrt(0.5)))
    assert spread(np.array([[1, 0.5], [0.5, 1]])) == pytest.approx(expected)


def test_distinct_ngrams_are_counted_once_per_image() -> None:
    assert distinct_ngrams(["a dog runs", "a dog sits", ""], 1) == 4 / 6
    assert distinct_ngrams(["a dog runs", "a dog sits", ""], 2) == 3 / 6
    assert distinct_ngrams(["", ""], 1) == 0


def test_mutual_bleu_is_1_for_equal_captions_and_low_for_different_ones() -> None:
    cider, text = Cider(GROUPS), "a dog runs on the green grass"
    assert measure_diversity([[text] * 3], cider)["mbleu_4"] == pytest.approx(1, abs=1e-6)
    other = "two men play football in a field"
    assert measure_diversity([[text, other]], cider)["mbleu_4"] < 0.01
    with pytest.raises(InputError, match="no image has two captions to compare"):
        measure_diversity([[text], [other]], cider)


def test_oracle_and_mean_are_those_of_captions_scored_one_by_one() -> None:
    options = {"metrics": ("bleu", "rouge_l", "cider"), "tokenizer": "ptb_python"}
    found = score_caption_sets(CAPTIONS, REFERENCES, **options)  # type: ignore[arg-type]
    assert (found.most, found.captions, found.compared) == (3, 8, 3)
    by_rank = [
        score_captions(
            {image: own[min(rank, len(own) - 1)] for image, own in CAPTIONS.items()},
            REFERENCES,
            **options,  # type: ignore[arg-type]
        ).per_image
        for rank in range(3)
    ]
    for metric in ("bleu_1", "bleu_4", "rouge_l", "cider"):
        each = {
            image: [scores[metric][image] for scores in by_rank[: len(own)]]
            for image, own in CAPTIONS.items()
        }
        assert found.oracle[metric] == pytest.approx(np.mean([max(own) for own in each.values()]))
        assert found.mean[metric] == pytest.approx(np.mean([np.mean(o) for o in each.values()]))
    with pytest.raises(InputError, match="no caption of 1 images, such as 'c'"):
        score_caption_sets({**CAPTIONS, "c": []}, REFERENCES, **options)  # type: ignore[arg-type]
