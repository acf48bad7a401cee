"""Builder of refined `detections` records: concepts on which similar images agree.

A fish that a detector reports in one picture of a swimmer is more often false than one that it
reports in many similar pictures. The score of each concept is therefore averaged with its scores in
the most similar images of a gallery, as in label propagation over nearest neighbors (Guillaumin et
al. 2009, TagProp). Concepts that only one image has fade, and those that a detector missed in one
image, but saw in its neighbors, appear. No caption is involved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from tfrecords.formats.detections.image_concepts import concept_detections, read_concepts
from tfrecords.formats.detections.reading import (
    DetectionSource,
    ImageDetections,
    read_detections,
)
from tfrecords.formats.features.nearest import nearest_rows
from tfrecords.formats.features.record_store import RecordStore, open_feature_records
from tfrecords.language.concepts import CONCEPT_CLASS, ConceptDictionary
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT
from tfrecords.pictures.region_boxes import WHOLE_IMAGE

# Objects count if their score is at least this part of the concept's highest score.
_CERTAIN_ENOUGH = 0.5
_NAMED_AT_ONCE = 3
_NO_BOXES = np.zeros((0, 4), np.float32)


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
    scores = np.stack([_scores(evidence.get(name, {}), words) for name in others])
    position = {name: index for index, name in enumerate(others)}
    own_rows = [position.get(name, -1) for name in names]
    rows: list[bytes] = []
    nearest = (
        row
        for batch, _ in nearest_rows(vectors, other_vectors, options.neighbors, own_rows)
        for row in batch
    )
    for name, similar in zip(names, nearest, strict=True):
        own = evidence.get(name, {})
        refined = (1 - options.neighbor_weight) * _scores(own, words)
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
            "detections": [source.recorded for source in options.detections],
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
        if not 0 <= value <= 1:
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
    folder, split = options.gallery or options.features, options.gallery_split
    store = open_feature_records(options.features)
    names = store.keys()
    vectors = _directions(store, names)
    rows = {name: row for row, name in enumerate(names)}
    others, other_vectors = names, vectors
    if options.gallery:
        gallery = open_feature_records(options.gallery)
        others = gallery.keys_of(split) if split else gallery.keys()
        other_vectors = _directions(gallery, others)
    elif split:
        others = store.keys_of(split)
        other_vectors = vectors[[rows[name] for name in others]]
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
        for name, vector in zip(others, other_vectors, strict=True):
            if name in rows and not np.allclose(vectors[rows[name]], vector, 0, 1e-2):
                raise InputError(
                    f"image {name!r} of {options.features} is another one than that of {folder}: "
                    "detections are found by name, so rename one of the two"
                )
    return names, vectors, others, other_vectors


def _directions(store: RecordStore, names: Sequence[str]) -> np.ndarray:
    """Returns the vectors float32 [N, D] of images, divided by their norms."""
    vectors = store.vectors(names)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        wrong = names[int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])]
        raise InputError(f"{store.folder}: the vector of image {wrong!r} is zero or not finite")
    vectors /= norms
    return vectors


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
    best: dict[str, _Evidence] = {}
    # Objects in the order of their scores: among as many boxes, the first ones remain.
    for own in sorted(
        concept_detections(detections, dictionary, sources), key=lambda own: -own.scores.max()
    ):
        certain = own.scores >= _CERTAIN_ENOUGH * own.scores.max()
        boxes = _NO_BOXES if own.are_labels else detections.boxes[own.positions][certain]
        known = best.get(own.word, _Evidence(0.0, _NO_BOXES))
        best[own.word] = _Evidence(
            max(own.score, known.score), boxes if len(boxes) > len(known.boxes) else known.boxes
        )
    return best


def _scores(evidence: Mapping[str, _Evidence], words: Sequence[str]) -> np.ndarray:
    """Returns the scores float32 [C] of all concepts in an image; 0 without evidence."""
    return np.array([evidence[w].score if w in evidence else 0 for w in words], np.float32)


def _objects(
    refined: np.ndarray, min_score: float, own: Mapping[str, _Evidence], words: Sequence[str]
) -> Detections:
    """Returns the objects of concepts with refined scores float [C], best scores first."""
    boxes, classes = [_NO_BOXES], []
    for column in np.argsort(-refined, kind="stable").tolist():
        if not refined[column] or refined[column] < min_score:
            break
        found = own.get(words[column])
        boxes.append(found.boxes if found is not None and len(found.boxes) else WHOLE_IMAGE)
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
