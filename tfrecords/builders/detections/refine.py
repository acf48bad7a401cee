"""Builder of refined `detections` records: concepts on which similar images agree.

A fish that a detector reports in one picture of a swimmer is more often false than one that it
reports in many similar pictures. The score of each concept is therefore averaged with its scores in
the most similar images of a gallery, as in label propagation over nearest neighbors (Guillaumin et
al. 2009, TagProp). Concepts that only one image has fade, and those that a detector missed in one
image, but saw in its neighbors, appear. No caption is involved.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from tfrecords.builders.base import BuildOptions, check_at_least_one, spread, write_records
from tfrecords.builders.detections.shard_jobs import (
    EncodedShardJob,
    encode_detections,
    record_features,
)
from tfrecords.core.errors import InputError
from tfrecords.core.records import CONCEPTS, MANIFEST, Records, open_records
from tfrecords.formats.detections.image_concepts import read_concepts
from tfrecords.formats.detections.reading import (
    DetectionSource,
    ImageDetections,
    read_detections,
)
from tfrecords.formats.features.record_store import open_feature_records
from tfrecords.language.concepts import CONCEPT_CLASS, ConceptDictionary
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT

_COMPARED_AT_ONCE = 256
# Objects count if their score is at least this part of the concept's highest score.
_CERTAIN_ENOUGH = 0.5
_NAMED_AT_ONCE = 3
_WHOLE_IMAGE, _NO_BOXES = np.array([[0, 0, 1, 1]], np.float32), np.zeros((0, 4), np.float32)


@dataclass(frozen=True, kw_only=True)
class RefineOptions(BuildOptions):
    """Options of `refine_detections`.

    Attributes:
        features: records with a vector per image, of the images to refine.
        gallery: records with vectors of the images that are compared with them; None for
            `features`.
        gallery_split: split of the gallery's records; None for all splits.
        detections: detections in all these images. Low minimum scores are useful, because the
            average decides.
        corpora: folder of `corpora` records with the concepts.
        neighbors: number of similar images.
        neighbor_weight: weight of the mean score of the similar images, in 0..1; the remaining
            weight is that of the image's own score.
        min_score: minimum score of a refined concept.
    """

    features: Path
    gallery: Path | None = None
    gallery_split: str | None = None
    detections: tuple[DetectionSource, ...]
    corpora: Path
    name: str = "detections"
    neighbors: int = 40
    neighbor_weight: float = 0.7
    min_score: float = 0.1
    shards: int = 8


class _Evidence(NamedTuple):
    """Detections of a concept in an image.

    Attributes:
        score: the highest score of an object, or the sum over labels of the whole image, times the
            weight of the source; the highest one of all sources.
        boxes: float32 [N, 4] of the objects, none for labels of the whole image.
    """

    score: float
    boxes: np.ndarray


def refine_detections(options: RefineOptions, progress: bool = True) -> Records:
    """Writes records of refined concepts, see `build_detections` for their content.

    `class_names` are `concept:WORD`, which every dictionary maps to the concept WORD alone;
    `classes` are the positions of the concepts in the dictionary of the corpus. All objects of a
    concept have its refined score; objects with less than half the score of the best one are left
    out. A concept without objects gets the whole image as its box.

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or inputs are invalid, records have no vectors or vectors of another
            length, the gallery has too few images, different images of the two records have the
            same name, or the detections contain no image of the gallery.
    """
    _check(options)
    corpora = open_records(options.corpora, kind="corpora")
    concepts_file = options.corpora / CONCEPTS
    dictionary, _ = read_concepts(concepts_file, corpora.vocabulary())
    names, vectors, others, other_vectors = _compared_images(options)
    dropped, converted = Counter[str](), Counter[str]()
    detections = read_detections(
        options.detections, names={*names, *others}, dropped=dropped, converted=converted
    )
    _check_found(options, names, others, detections)
    evidence = {
        name: concept_evidence(found, dictionary, options.detections)
        for name, found in detections.items()
    }
    words = list(dictionary.words)
    scores = _score_table([evidence.get(name, {}) for name in others], words)
    position = {name: index for index, name in enumerate(others)}
    own_rows = [position.get(name, -1) for name in names]
    rows: list[bytes] = []
    nearest = nearest_rows(vectors, other_vectors, options.neighbors, own_rows)
    for name, similar in zip(names, nearest, strict=True):
        own = evidence.get(name, {})
        refined = (1 - options.neighbor_weight) * _score_table([own], words)[0]
        refined += options.neighbor_weight * scores[similar].mean(axis=0)
        height, width = _size(detections.get(name))
        objects = _objects(refined, options.min_score, own, words)
        rows.append(encode_detections(name, height, width, objects))
    return write_records(
        options,
        kind="detections",
        progress=progress,
        splits={ALL_IMAGES_SPLIT: [EncodedShardJob(part) for part in spread(rows, options.shards)]},
        features=record_features,
        recorded={
            "detector": "similar_images",
            "neighbors": options.neighbors,
            "neighbor_weight": options.neighbor_weight,
            "min_score": options.min_score,
            "gallery_split": options.gallery_split,
            "detections": [
                {
                    "file": source.path.name,
                    "min_score": source.min_score,
                    "weight": source.weight,
                    **source.box_options.recorded,
                }
                for source in options.detections
            ],
            "shards": options.shards,
        },
        sources=[
            options.features / MANIFEST,
            *([options.gallery / MANIFEST] if options.gallery else []),
            concepts_file,
            *(file for source in options.detections for file in source.files),
        ],
        dropped=dropped,
        converted=converted,
    )


def _check(options: RefineOptions) -> None:
    check_at_least_one(options, "neighbors", "shards")
    for name in ("neighbor_weight", "min_score"):
        value = getattr(options, name)
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise InputError(f"{name}={value} must be in 0..1")
    for source in options.detections:
        if not 0 <= source.weight <= 1:
            raise InputError(
                f"{source.path}: weight {source.weight:g} must be in 0..1, because refined scores "
                "are; lower the weights of the other files instead"
            )


def _compared_images(
    options: RefineOptions,
) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """Returns names and vectors of the images to refine, and of those of the gallery."""
    folder = options.gallery or options.features
    names, vectors = _read_vectors(options.features, None)
    if options.gallery:
        others, other_vectors = _read_vectors(options.gallery, options.gallery_split)
    elif options.gallery_split:
        own = set(open_feature_records(options.features).keys_of(options.gallery_split))
        rows = [row for row, name in enumerate(names) if name in own]
        others, other_vectors = [names[row] for row in rows], vectors[rows]
    else:
        others, other_vectors = names, vectors
    if vectors.shape[1] != other_vectors.shape[1]:
        raise InputError(
            f"the vectors of {options.features} have {vectors.shape[1]} values, those of "
            f"{folder} {other_vectors.shape[1]}: extract both with the same network"
        )
    if options.neighbors >= len(others):
        raise InputError(
            f"{folder} has {len(others)} images to compare with: {options.neighbors} "
            "neighbors require more; give a smaller --neighbors"
        )
    if options.gallery:
        known = {name: row for row, name in enumerate(others)}
        for row, name in enumerate(names):
            if name in known and not np.allclose(vectors[row], other_vectors[known[name]], 0, 1e-2):
                raise InputError(
                    f"image {name!r} of {options.features} is another one than that of {folder}: "
                    "detections are found by name, so rename one of the two"
                )
    return names, vectors, others, other_vectors


def _read_vectors(folder: Path, split: str | None) -> tuple[list[str], np.ndarray]:
    """Returns the names of the images of records, and their vectors float32 [N, D] of norm 1."""
    store = open_feature_records(folder)
    size = store.shapes.get("global_feature", (None,))[0]
    if size is None:
        raise InputError(
            f"{folder} has no vector per image: extract features with a --backbone, not regions "
            "alone"
        )
    store = replace(store, shapes={"global_feature": (size,)}, has_boxes=False)
    names = store.keys() if split is None else store.keys_of(split)
    table = np.empty((len(names), size), np.float32)
    for row, name in enumerate(names):
        found = store.get(name)
        assert found is not None and found.global_feature is not None  # a key of the store
        table[row] = found.global_feature
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        wrong = names[int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])]
        raise InputError(f"{folder}: the vector of image {wrong!r} is zero or not finite")
    table /= norms
    return names, table


def _check_found(
    options: RefineOptions,
    names: Sequence[str],
    others: Sequence[str],
    detections: Mapping[str, ImageDetections],
) -> None:
    """Warns of images that a file does not contain; raises an error if it has none of them."""
    for index, source in enumerate(options.detections):
        # Every source has a size, maybe unknown, of each of its images.
        has = {name for name, found in detections.items() if index in found.sizes}
        for images, title in ((others, "the gallery"), (names, "the images to refine")):
            missing = [name for name in images if name not in has]
            if missing and len(missing) < len(images):
                logging.warning(
                    "%s does not contain %d of the %d images of %s (first: %s): their scores count "
                    "as 0",
                    source.path, len(missing), len(images), title,
                    ", ".join(missing[:_NAMED_AT_ONCE]),
                )  # fmt: skip
    if not any(name in detections for name in others):
        raise InputError(
            "the detections contain no image of the gallery: give --detections of the gallery, too"
        )


def concept_evidence(
    detections: ImageDetections,
    dictionary: ConceptDictionary,
    sources: Sequence[DetectionSource],
) -> dict[str, _Evidence]:
    """Returns the concepts of an image with their objects, from all sources.

    Args:
        detections: detections in the image, from `read_detections`.
        dictionary: maps classes to concepts.
        sources: as given to `read_detections`.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for position, name in enumerate(detections.class_names):
        for word in dictionary.concepts_of_class(name):
            groups[word, int(detections.source_index[position])].append(position)
    best: dict[str, _Evidence] = {}
    # Objects in the order of their scores: among as many boxes, the first ones remain.
    for (word, source), positions in sorted(
        groups.items(), key=lambda item: -float(detections.scores[item[1]].max())
    ):
        scores = detections.scores[positions]
        if detections.is_tag[positions[0]]:
            score, boxes = min(float(scores.sum()), 1.0), _NO_BOXES
            if score < sources[source].min_score:
                continue
        else:
            score = float(scores.max())
            boxes = detections.boxes[positions][scores >= _CERTAIN_ENOUGH * score]
        score *= sources[source].weight
        known = best.get(word, _Evidence(0.0, _NO_BOXES))
        best[word] = _Evidence(
            max(score, known.score), boxes if len(boxes) > len(known.boxes) else known.boxes
        )
    return best


def _score_table(rows: Sequence[Mapping[str, _Evidence]], words: Sequence[str]) -> np.ndarray:
    """Returns the scores float32 [N, C] of all concepts in images; 0 without evidence."""
    columns = {word: column for column, word in enumerate(words)}
    table = np.zeros((len(rows), len(words)), np.float32)
    for row, evidence in enumerate(rows):
        for word, found in evidence.items():
            table[row, columns[word]] = found.score
    return table


def nearest_rows(
    vectors: np.ndarray, gallery: np.ndarray, count: int, own_rows: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yields the rows of the most similar images of the gallery, int [count], for each image.

    Args:
        vectors: float32 [N, D] of norm 1.
        gallery: float32 [M, D] of norm 1; M is above `count`.
        count: number of images.
        own_rows: row of each of the N images in the gallery, which is never its own neighbor; -1 if
            it is not there.
    """
    for start in range(0, len(vectors), _COMPARED_AT_ONCE):
        similarities = vectors[start : start + _COMPARED_AT_ONCE] @ gallery.T
        own = np.asarray(own_rows[start : start + _COMPARED_AT_ONCE])
        present = np.flatnonzero(own >= 0)
        similarities[present, own[present]] = -np.inf
        yield from np.argpartition(-similarities, count - 1, axis=1)[:, :count]


def _objects(
    refined: np.ndarray, min_score: float, own: Mapping[str, _Evidence], words: Sequence[str]
) -> Detections:
    """Returns the objects of concepts with refined scores float [C], best scores first."""
    boxes, classes = [_NO_BOXES], []
    for column in np.argsort(-refined, kind="stable").tolist():
        if not refined[column] or refined[column] < min_score:
            break
        found = own.get(words[column])
        boxes.append(found.boxes if found is not None and len(found.boxes) else _WHOLE_IMAGE)
        classes += [column] * len(boxes[-1])
    return Detections(
        boxes=np.concatenate(boxes),
        class_ids=np.array(classes, np.int64),
        class_names=tuple(f"{CONCEPT_CLASS}{words[column]}" for column in classes),
        scores=np.minimum(refined[classes], 1.0).astype(np.float32),
    )


def _size(detections: ImageDetections | None) -> tuple[int, int]:
    """Returns height and width of an image in pixels; zeros if no detector gives them."""
    sizes = detections.sizes.values() if detections else ()
    return next((size for size in sizes if all(size)), (0, 0))
