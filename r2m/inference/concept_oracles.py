"""Concepts that replace detected ones in an evaluation, to find what limits R2M.

R2M captions nothing but the concepts of an image. With the concepts that references mention, its
score shows how good captions would be with a perfect detector; with the concepts of other images,
how much of the score does not depend on the image at all.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median_high
from typing import Any

import tensorflow as tf

from r2m.inference.run import IMAGES_AT_ONCE, Run
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.language.concept_counts import count_concepts
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.tokenization import tokenize

DETECTED, REFERENCES, SHUFFLED = "detected", "references", "shuffled"
CONCEPT_SOURCES = (DETECTED, REFERENCES, SHUFFLED)
# Concepts count if at least this many references of an image mention them.
_LEAST_REFERENCES = 2
_SEED = 0


def oracle_concepts(
    run: Run, images: Iterable[Mapping[str, Any]], source: str
) -> dict[str, list[str]]:
    """Returns the concepts of each image, most important first, repeated by their counts.

    Args:
        run: a run of R2M.
        images: result of `Run.examples`.
        source: `references`: the concepts that at least two references of the image mention (one,
            if it has only one), those of most references first, with the median of their counts. Or
            `shuffled`: the detected concepts of another image.

    Raises:
        InputError: the run captions images instead of concepts.
    """
    run.check_captions_concepts()
    rules = run.loaded.rules  # type: ignore[attr-defined] # of R2M, as just checked
    if source == REFERENCES:
        return {
            image["image_id"]: mentioned_concepts(
                image["texts"], rules.dictionary, rules.allowed, run.vocabulary
            )
            for image in images
        }
    assert source == SHUFFLED, source
    names, concepts = [], []
    for image in images:
        names.append(image["image_id"])
        ids, counts = image["concepts"][::-1], image["concept_counts"][::-1]
        concepts.append(
            [run.vocabulary.words[i] for i, n in zip(ids, counts, strict=True) for _ in range(n)]
        )
    if len(names) < 2:
        raise InputError("the concepts of one image cannot be exchanged with those of others")
    # A shift in random order: no image keeps its concepts.
    order = random.Random(_SEED).sample(range(len(names)), len(names))
    return {names[to]: concepts[of] for to, of in zip(order, order[1:] + order[:1], strict=True)}


def mentioned_concepts(
    texts: Sequence[str],
    dictionary: ConceptDictionary,
    allowed: frozenset[str],
    vocabulary: Vocabulary,
) -> list[str]:
    """Returns the concepts that at least two texts mention; see `oracle_concepts`."""
    counts: dict[str, list[int]] = {}
    for text in texts:
        for concept, count in count_concepts(
            tokenize(text, segmenter=vocabulary.segmenter), dictionary
        ).items():
            counts.setdefault(concept, []).append(count)
    least = min(_LEAST_REFERENCES, len(texts))
    mentions = Counter(
        {word: len(own) for word, own in counts.items() if len(own) >= least and word in allowed}
    )
    return [word for word, _ in mentions.most_common() for _ in range(median_high(counts[word]))]


def concept_batches(
    run: Run, concepts: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields batches like `Run.record_batches`, with these concepts of the images."""
    remaining = iter(concepts.items())
    while batch := list(itertools.islice(remaining, IMAGES_AT_ONCE)):
        names, rows = zip(*batch, strict=True)
        yield {"image_id": tf.constant(names), **run.loaded.concept_inputs(rows)}
