"""Builder of refined `detections` records: concepts on which similar images agree.

A detector that sees a fish in one picture of a swimmer is wrong more often than one that sees it in
many similar pictures. The score of each concept is therefore averaged with its scores in the most
similar images of a gallery, as in label propagation over nearest neighbors (Guillaumin et al. 2009,
TagProp). Concepts that only one image has fade, and those that a detector missed in one image, but
saw in its neighbors, appear. No caption is involved.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT

_COMPARED_AT_ONCE = 256
# Objects count if their score is at least this part of the concept's highest score.
_CERTAIN_ENOUGH = 0.5
_WHOLE_IMAGE = np.array([[0, 0, 1, 1]], np.float32)


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
    """What detectors say about a concept of an image.

    Attributes:
        score: the highest score of an object, or the sum over labels of the whole image, times the
            weight of the source.
        boxes: float32 [N, 4] of the objects; the whole image for labels.
        shares: float [N], their scores as fractions of the highest one.
    """

    score: float
    boxes: np.ndarray
    shares: np.ndarray


def refine_detections(options: RefineOptions, progress: bool = True) -> Records:
    """Writes records of refined concepts, see `build_detections` for their content.

    `class_names` are concepts, `classes` their positions in the dictionary of the corpus. An object
    of a concept with several objects has the concept's refined score times its own score divided by
    the highest score of the objects; those with less than half of the highest one are left out. A
    concept that only similar images have gets the whole image as its box.

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or inputs are invalid, records have no vectors or vectors of another
            length, the gallery has too few images, or the detections contain none of the images.
    """
    _check(options)
    corpora = open_records(options.corpora, kind="corpora")
    concepts_file = options.corpora / CONCEPTS
    dictionary, _ = read_concepts(concepts_file, corpora.vocabulary())
    gallery_folder = options.gallery or options.features
    names, vectors = _read_vectors(options.features, None)
    others, other_vectors = _read_vectors(gallery_folder, options.gallery_split)
    if vectors.shape[1] != other_vectors.shape[1]:
        raise InputError(
            f"the vectors of {options.features} have {vectors.shape[1]} values, those of "
            f"{gallery_folder} {other_vectors.shape[1]}: extract both with the same network"
        )
    if options.neighbors >= len(others):
        raise InputError(
            f"{gallery_folder} has {len(others)} images to compare with: {options.neighbors} "
            "neighbors require more; give a smaller --neighbors"
        )
    dropped, converted = Counter[str](), Counter[str]()
    detections = read_detections(
        options.detections, names={*names, *others}, dropped=dropped, converted=converted
    )
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
        objects = _objects(refined, own, words).best(min_score=options.min_score, most=len(words))
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
                {"file": source.path.name, "min_score": source.min_score, "weight": source.weight}
                for source in options.detections
            ],
            "shards": options.shards,
        },
        sources=[
            options.features / MANIFEST,
            gallery_folder / MANIFEST,
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


def _read_vectors(folder: Path, split: str | None) -> tuple[list[str], np.ndarray]:
    """Returns the names of the images of records, and their vectors float32 [N, D] of norm 1."""
    store = open_feature_records(folder)
    if "global_feature" not in store.shapes:
        raise InputError(
            f"{folder} has no vector per image: extract features with a --backbone, not regions "
            "alone"
        )
    names, vectors = store.keys() if split is None else store.keys_of(split), []
    for name in names:
        found = store.get(name)
        assert found is not None and found.global_feature is not None  # a key of the store
        vectors.append(found.global_feature.astype(np.float32))
    table = np.stack(vectors)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        wrong = names[int(np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))[0])]
        raise InputError(f"{folder}: the vector of image {wrong!r} is zero or not finite")
    return names, table / norms


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
    for (word, source), positions in groups.items():
        scores = detections.scores[positions]
        if detections.is_tag[positions[0]]:
            score, boxes, shares = min(float(scores.sum()), 1.0), _WHOLE_IMAGE, np.ones(1)
            if score < sources[source].min_score:
                continue
        else:
            score = float(scores.max())
            if not score:
                continue
            shares = scores / score
            kept = shares >= _CERTAIN_ENOUGH
            boxes, shares = detections.boxes[positions][kept], shares[kept]
        score *= sources[source].weight
        known = best.get(word)
        # Boxes say how many there are, so they are kept whatever a classifier's score.
        of_boxes = known is not None and len(known.boxes) > len(boxes)
        chosen = known if known is not None and of_boxes else _Evidence(score, boxes, shares)
        best[word] = chosen._replace(score=max(score, known.score if known else 0.0))
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


def _objects(refined: np.ndarray, own: Mapping[str, _Evidence], words: Sequence[str]) -> Detections:
    """Returns the objects of an image with refined scores float [C] of all concepts."""
    boxes, ids, scores = [], [], []
    for column in np.flatnonzero(refined).tolist():
        found = own.get(words[column], _Evidence(0.0, _WHOLE_IMAGE, np.ones(1)))
        boxes.append(found.boxes)
        scores.append(refined[column] * found.shares)
        ids.append(np.full(len(found.boxes), column))
    if not boxes:
        return Detections(
            boxes=np.zeros((0, 4), np.float32),
            class_ids=np.zeros(0, np.int64),
            class_names=(),
            scores=np.zeros(0, np.float32),
        )
    classes = np.concatenate(ids)
    return Detections(
        boxes=np.concatenate(boxes),
        class_ids=classes.astype(np.int64),
        class_names=tuple(words[int(column)] for column in classes),
        scores=np.minimum(np.concatenate(scores), 1.0).astype(np.float32),
    )


def _size(detections: ImageDetections | None) -> tuple[int, int]:
    """Returns height and width of an image in pixels; zeros if no detector gives them."""
    sizes = detections.sizes.values() if detections else ()
    return next((size for size in sizes if all(size)), (0, 0))
