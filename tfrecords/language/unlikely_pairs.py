"""Pairs of concepts that are hardly ever in the same sentence, although both are frequent.

If a detector finds such a pair in an image (a dog and a giraffe), one of the two is usually false,
and a decoder that learned from the sentences cannot describe both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from absl import logging

from tfrecords.core.records import Records
from tfrecords.language.concept_sets import (
    ConceptSets,
    count_concepts,
    count_pairs,
    read_concept_sets,
)
from tfrecords.language.concepts import ConceptDictionary

UnlikelyPairs = Mapping[str, frozenset[str]]
"""Concept -> the concepts with which it makes an unlikely pair; symmetric."""

# Name of the saved pairs in the options of records and in the rules of a run.
UNLIKELY_PAIRS = "unlikely_pairs"
NO_PAIRS: UnlikelyPairs = MappingProxyType({})


def read_unlikely_pairs(
    corpora: Records, dictionary: ConceptDictionary, min_sentences: int
) -> UnlikelyPairs:
    """Reads the concepts of all sentences and returns their unlikely pairs; none for 0 sentences.

    Raises:
        InputError: see `read_concept_sets`.
    """
    if not min_sentences:
        return NO_PAIRS
    sentences = read_concept_sets(corpora, corpora.splits, dictionary)
    found = find_unlikely_pairs(sentences, dictionary.words, min_sentences)
    logging.info(
        "%d pairs of concepts are in fewer than %d sentences, but chance would give more",
        sum(map(len, found.values())) // 2,
        min_sentences,
    )
    return found


def find_unlikely_pairs(
    sentences: ConceptSets, words: Sequence[str], min_sentences: int
) -> UnlikelyPairs:
    """Returns the pairs of concepts that fewer sentences have than required, and than expected.

    Rare concepts rarely meet. A pair is therefore unlikely only if at least `min_sentences`
    sentences would have it if its concepts were independent of each other.

    Args:
        sentences: concepts of the sentences, as indices into `words`.
        words: the concepts.
        min_sentences: number of sentences that make a pair likely.
    """
    counts = count_concepts(sentences, len(words))
    expected = np.outer(counts, counts / max(sentences.total(), 1))
    is_unlikely = (count_pairs(sentences, len(words)) < min_sentences) & (expected >= min_sentences)
    return _symmetric([(words[a], words[b]) for a, b in np.argwhere(np.triu(is_unlikely, 1))])


def to_saved(pairs: UnlikelyPairs) -> dict[str, str]:
    """Returns each pair once, in a form for JSON: concept -> later concepts, joined by spaces."""
    later = {word: sorted(other for other in pairs[word] if other > word) for word in sorted(pairs)}
    return {word: " ".join(others) for word, others in later.items() if others}


def recorded_pairs(pairs: UnlikelyPairs, min_sentences: int) -> dict[str, Any]:
    """Returns what the manifest of images contains: nothing for 0 sentences, as in older ones."""
    if not min_sentences:
        return {}
    return {"min_pair_sentences": min_sentences, UNLIKELY_PAIRS: to_saved(pairs)}


def from_saved(saved: Mapping[str, str]) -> UnlikelyPairs:
    """Returns the pairs that `to_saved` saved."""
    return _symmetric([(word, other) for word, others in saved.items() for other in others.split()])


def keep_likely(concepts: Sequence[str], pairs: UnlikelyPairs) -> list[str]:
    """Returns the concepts without those that make an unlikely pair with a more certain one.

    A concept that is left out does not exclude others.

    Args:
        concepts: concepts of an image, the most certain one last.
        pairs: unlikely pairs.
    """
    kept: list[str] = []
    for word in reversed(concepts):
        if pairs.get(word, frozenset()).isdisjoint(kept):
            kept.append(word)
    return kept[::-1]


def _symmetric(pairs: Sequence[tuple[str, str]]) -> UnlikelyPairs:
    found: dict[str, set[str]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return {word: frozenset(others) for word, others in found.items()}
