"""Concepts of an image: the caption words for its detected classes; and those of a corpus."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.formats.detections.reading import DetectionSource, ImageDetections
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.unlikely_pairs import NO_PAIRS, UnlikelyPairs, keep_likely

ConceptOrder = Literal["score", "class_id"]

UNLIKELY_PAIR = "unlikely_pair"


@dataclass(frozen=True)
class ImageConcept:
    """One concept of an image.

    Attributes:
        word: the concept.
        score: weighted score of the best detection (summed over labels for tags).
        count: number of detected objects; a label of the whole image counts as one.
        box: ymin, xmin, ymax, xmax in 0..1 of the best detection.
        image_size: height and width of the image according to its detector, in pixels; zeros if
            unknown.
    """

    word: str
    score: float
    count: int
    box: tuple[float, float, float, float]
    image_size: tuple[int, int] = (0, 0)


def read_concepts(path: Path, vocabulary: Vocabulary) -> tuple[ConceptDictionary, dict[str, int]]:
    """Reads the concepts of a corpus.

    Args:
        path: `concepts.json` of `corpora` records.
        vocabulary: their vocabulary.

    Returns:
        The dictionary, and the number of sentences per concept.

    Raises:
        InputError: the file is missing, malformed or of an earlier version, or a concept is not in
            the vocabulary.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error}; build the corpus again with --overwrite"
        ) from error
    dictionary = ConceptDictionary.from_json(text, source=str(path))
    counts = json.loads(text).get("counts")
    if counts is None:
        raise InputError(
            f"{path} has no `counts` of the concepts: build the corpus again with --overwrite"
        )
    unknown = [word for word in dictionary.words if word not in vocabulary]
    if unknown:
        raise InputError(
            f"{len(unknown)} concepts of {path} are not in the vocabulary next to it (first: "
            f"{', '.join(unknown[:5])}): the two files are from different builds"
        )
    return dictionary, counts


class ConceptDetections(NamedTuple):
    """The detections of a concept in an image by one source.

    Attributes:
        word: the concept.
        source: index of the source.
        positions: positions of the detections in `ImageDetections`, N.
        scores: float32 [N], their scores.
        score: the highest score of an object, or the sum over labels of the whole image, at most 1,
            times the weight of the source.
        are_labels: whether they are labels of the whole image.
    """

    word: str
    source: int
    positions: list[int]
    scores: np.ndarray
    score: float
    are_labels: bool


def concept_detections(
    detections: ImageDetections,
    dictionary: ConceptDictionary,
    sources: Sequence[DetectionSource],
    allowed: Container[str] | None = None,
) -> Iterator[ConceptDetections]:
    """Yields the detections of each concept by each source.

    Labels of a classifier exclude each other. The scores of labels with the same concept are
    therefore added (whippet 0.2 and saluki 0.2 make dog 0.4) before the sum is compared with the
    source's `min_score`.

    Args:
        detections: detections in the image, from `read_detections`.
        dictionary: maps classes to concepts.
        sources: as given to `read_detections`.
        allowed: the concepts to choose from; None allows all.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for position, name in enumerate(detections.class_names):
        for word in dictionary.concepts_of_class(name):
            if allowed is None or word in allowed:
                groups[word, int(detections.source_index[position])].append(position)
    for (word, source), positions in groups.items():
        scores = detections.scores[positions]
        # A source has either objects or labels.
        are_labels = bool(detections.is_tag[positions[0]])
        score = min(float(scores.sum()), 1.0) if are_labels else float(scores.max())
        # `read_detections` compares the scores of objects.
        if are_labels and score < sources[source].min_score:
            continue
        weighted = score * sources[source].weight
        yield ConceptDetections(word, source, positions, scores, weighted, are_labels)


def image_concepts(
    detections: ImageDetections,
    dictionary: ConceptDictionary,
    *,
    sources: Sequence[DetectionSource],
    max_concepts: int = 5,
    order: ConceptOrder = "score",
    allowed: Container[str] | None = None,
    unlikely: UnlikelyPairs = NO_PAIRS,
    dropped: Counter[str] | None = None,
) -> list[ImageConcept]:
    """Returns the concepts of an image, in ascending order of scores.

    Args:
        detections: detections in the image, from `read_detections`.
        dictionary: maps classes to concepts.
        sources: as given to `read_detections`.
        max_concepts: number of concepts to keep.
        order: `score` keeps the highest scores; `class_id` reproduces upstream R2M, which sorts by
            class id and keeps the last ones (spec section 2.3).
        allowed: the concepts to choose from; None allows all.
        unlikely: pairs of concepts, of which only the one with the higher score is kept.
        dropped: the number of concepts that are left out for this reason is added to it.

    Returns:
        At most `max_concepts` concepts; the concept with the highest rank is last.
    """
    best: dict[str, ImageConcept] = {}
    keys: dict[str, tuple[int, int]] = {}
    for own in concept_detections(detections, dictionary, sources, allowed):
        word, top = own.word, own.positions[int(np.argmax(own.scores))]
        ymin, xmin, ymax, xmax = detections.boxes[top].tolist()
        found = ImageConcept(
            word,
            own.score,
            1 if own.are_labels else len(own.positions),
            (ymin, xmin, ymax, xmax),
            detections.sizes[own.source],
        )
        class_key = (own.source, int(detections.class_ids[own.positions].min()))
        keys[word] = min(keys.get(word, class_key), class_key)
        known = best.get(word, found)
        most_certain = found if found.score > known.score else known
        best[word] = replace(most_certain, count=max(found.count, known.count))
    by_score = sorted(best.values(), key=lambda c: (c.score, c.word))
    likely = set(keep_likely([concept.word for concept in by_score], unlikely))
    if dropped is not None and len(likely) < len(best):
        dropped[UNLIKELY_PAIR] += len(best) - len(likely)
    chosen = [concept for concept in by_score if concept.word in likely]
    if order == "class_id":
        chosen.sort(key=lambda c: (keys[c.word], c.word))
    return chosen[-max_concepts:]
