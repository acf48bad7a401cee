"""Statistics of concepts: how often images and sentences contain them, alone and together.

A captioner that is trained without image-caption pairs receives an image as a set of concepts. It
can only describe concepts, and combinations of concepts, that the sentences of its corpus contain.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.records import CONCEPTS, Records, check_same_vocabulary
from tfrecords.language.concept_sets import (
    ConceptSets,
    count_concepts,
    count_pairs,
    covered_sets,
)
from tfrecords.language.concepts import ConceptDictionary


@dataclass(frozen=True, kw_only=True)
class ConceptUse:
    """Use of one concept.

    Attributes:
        word: the concept.
        images: number of images that have it.
        image_share: this number divided by that of all images.
        sentences: number of sentences that have it.
        sentence_share: this number divided by that of all sentences.
        ratio: `image_share / sentence_share`; None if no sentence has the concept.
        mismatch: `(p - q) * ln(p / q)` of the two shares, the term of a population stability index.
            It is 0 for equal shares, and large for concepts that are frequent on one side and rare
            on the other. Half a record is added to both counts, so that it is finite.
    """

    word: str
    images: int
    image_share: float
    sentences: int
    sentence_share: float
    ratio: float | None
    mismatch: float


@dataclass(frozen=True, kw_only=True)
class PairUse:
    """A pair of concepts, and the number of images that have both."""

    words: tuple[str, str]
    images: int


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Number of concepts, pairs or sets of images, and of those that sentences have too.

    Attributes:
        distinct: number of distinct ones in images.
        distinct_shared: number of those that at least one sentence has.
        total: their number summed over all images.
        total_shared: the part of `total` that at least one sentence has.
    """

    distinct: int
    distinct_shared: int
    total: int
    total_shared: int


@dataclass(frozen=True, kw_only=True)
class ConceptStatistics:
    """Statistics of the concepts of images and of sentences.

    Attributes:
        images: number of images.
        sentences: number of sentences.
        concepts: use of every concept of the dictionary, in descending order of mismatch.
        images_by_size: [K+1] number of images with 0, 1, ..., K concepts.
        sentences_by_size: the same for sentences.
        singles: concepts of images, and those that a sentence has.
        pairs: pairs of concepts of images, and those that a sentence has.
        exact_sets: sets of all concepts of an image (if it has any), and those that are all
            concepts of a sentence.
        covered_sets: the same sets, and those that a sentence has, perhaps with other concepts.
        min_pair_images: minimum number of images of a pair in `missing_pairs`.
        missing_pairs: pairs of concepts of images that no sentence has, most frequent first.
    """

    images: int
    sentences: int
    concepts: tuple[ConceptUse, ...]
    images_by_size: tuple[int, ...]
    sentences_by_size: tuple[int, ...]
    singles: Overlap
    pairs: Overlap
    exact_sets: Overlap
    covered_sets: Overlap
    min_pair_images: int
    missing_pairs: tuple[PairUse, ...]


@dataclass(frozen=True, kw_only=True)
class UnusedClasses:
    """Classes of the detectors that give images no concept.

    Attributes:
        classes: number of classes of the dictionary.
        without_concept: classes that the concept tables map to no word.
        rare: classes whose concepts occur in fewer sentences than images require.
        min_concept_count: that number, `--min_concept_count` of the images.
    """

    classes: int
    without_concept: tuple[str, ...]
    rare: tuple[str, ...]
    min_concept_count: int


def read_dictionary(images: Records, corpora: Records) -> ConceptDictionary:
    """Returns the concept dictionary that images and sentences share.

    Raises:
        InputError: the vocabularies or the dictionaries of the two folders differ, or the file is
            damaged.
    """
    check_same_vocabulary(
        str(images.folder),
        images.vocabulary_sha256,
        str(corpora.folder),
        corpora.vocabulary_sha256,
    )
    if images.concepts_sha256 != corpora.concepts_sha256:
        raise InputError(
            f"{images.folder} and {corpora.folder} use different concept dictionaries "
            f"({CONCEPTS}). Give the records that the images were built with, or build the images "
            f"again: r2m-build-images --corpora={corpora.folder}"
        )
    path = images.folder / CONCEPTS
    return ConceptDictionary.from_json(_read_text(path), source=str(path))


def concept_statistics(
    images: ConceptSets,
    sentences: ConceptSets,
    dictionary: ConceptDictionary,
    *,
    min_pair_images: int = 1,
) -> ConceptStatistics:
    """Compares the concepts of images with those of sentences.

    Args:
        images: see `read_concept_sets`.
        sentences: see `read_concept_sets`.
        dictionary: the dictionary of both.
        min_pair_images: minimum number of images of a listed pair.
    """
    words = dictionary.words
    image_counts, sentence_counts = (count_concepts(s, len(words)) for s in (images, sentences))
    image_pairs, sentence_pairs = (count_pairs(s, len(words)) for s in (images, sentences))
    least = max(min_pair_images, 1)
    missing = np.argwhere((image_pairs >= least) & (sentence_pairs == 0)).tolist()
    uses = [
        _use(word, (in_images, images.total()), (in_sentences, sentences.total()))
        for word, in_images, in_sentences in zip(
            words, image_counts.tolist(), sentence_counts.tolist(), strict=True
        )
    ]
    pairs = [PairUse(words=(words[a], words[b]), images=int(image_pairs[a, b])) for a, b in missing]
    sets = ConceptSets({members: count for members, count in images.items() if members})
    covered = covered_sets(sets, sentences, sentence_counts, sentence_pairs)
    return ConceptStatistics(
        images=images.total(),
        sentences=sentences.total(),
        concepts=tuple(sorted(uses, key=lambda use: (-use.mismatch, use.word))),
        images_by_size=_by_size(images),
        sentences_by_size=_by_size(sentences),
        singles=_overlap(image_counts, sentence_counts),
        pairs=_overlap(image_pairs, sentence_pairs),
        exact_sets=_overlap_of_sets(sets, sets.keys() & sentences.keys()),
        covered_sets=_overlap_of_sets(sets, covered),
        min_pair_images=least,
        missing_pairs=tuple(sorted(pairs, key=lambda pair: (-pair.images, pair.words))),
    )


def unused_classes(images: Records, dictionary: ConceptDictionary) -> UnusedClasses:
    """Returns the classes that give images no concept.

    Images contain no detections, only concepts: the number of detections per class is unknown.

    Args:
        images: `images` records.
        dictionary: their dictionary.

    Raises:
        InputError: `concepts.json` of the images is damaged.
    """
    least = int(images.manifest["options"].get("min_concept_count", 1))
    # The builder of images counts the sentences of all splits, before those with too many unknown
    # words are omitted.
    counts = json.loads(_read_text(images.folder / CONCEPTS)).get("counts", {})
    frequent = {word for word in dictionary.words if counts.get(word, least) >= least}
    classes = sorted(dictionary.classes.items())
    return UnusedClasses(
        classes=len(classes),
        without_concept=tuple(name for name, concepts in classes if not concepts),
        rare=tuple(
            name for name, concepts in classes if concepts and frequent.isdisjoint(concepts)
        ),
        min_concept_count=least,
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {path}: {error}; build the records again with --overwrite"
        ) from error


def _use(word: str, images: tuple[int, int], sentences: tuple[int, int]) -> ConceptUse:
    """Returns the use of a concept, from its number of records and that of all records."""
    p, q = ((count + 0.5) / (everything + 1) for count, everything in (images, sentences))
    image_share, sentence_share = (n / max(everything, 1) for n, everything in (images, sentences))
    return ConceptUse(
        word=word,
        images=images[0],
        image_share=image_share,
        sentences=sentences[0],
        sentence_share=sentence_share,
        ratio=image_share / sentence_share if sentence_share else None,
        mismatch=(p - q) * math.log(p / q),
    )


def _by_size(sets: ConceptSets) -> tuple[int, ...]:
    """Returns the number of records with 0, 1, ... concepts."""
    sizes = Counter[int]()
    for members, count in sets.items():
        sizes[len(members)] += count
    return tuple(sizes[size] for size in range(max(sizes, default=0) + 1))


def _overlap(images: np.ndarray, sentences: np.ndarray) -> Overlap:
    """Returns the overlap of counts of images and counts of sentences, of the same shape."""
    shared = images[sentences > 0]
    return Overlap(
        distinct=int(np.count_nonzero(images)),
        distinct_shared=int(np.count_nonzero(shared)),
        total=int(images.sum()),
        total_shared=int(shared.sum()),
    )


def _overlap_of_sets(images: ConceptSets, shared: Collection[tuple[int, ...]]) -> Overlap:
    return Overlap(
        distinct=len(images),
        distinct_shared=len(shared),
        total=images.total(),
        total_shared=sum(images[members] for members in shared),
    )
