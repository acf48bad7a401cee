"""What a detector or a classifier saw in each image, and the concepts that follow from it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfrecords.concepts import ConceptDictionary
from tfrecords.errors import InputError

ConceptOrder = Literal["score", "class_id"]

# Boxes are rounded by their publishers: a box with less margin than this is the whole image.
_WHOLE_IMAGE_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class DetectionSource:
    """One file of detections.

    Attributes:
        path: COCO results JSON: an object with `images`, `annotations`, `categories`, or a plain
            list of annotations (then `images` is needed). An annotation without `score` counts as
            certain, so COCO's ground truth (`instances_*.json`) can be read too.
        min_score: what is less certain is left out. For tags see `image_concepts`.
        weight: factor on the scores, to make those of several sources comparable.
        images: JSON with the `images` and `categories` that a plain list lacks.
    """

    path: Path
    min_score: float = 0.3
    weight: float = 1.0
    images: Path | None = None

    @classmethod
    def parse(cls, text: str) -> DetectionSource:
        """The source that `FILE[,MIN_SCORE[,WEIGHT]]` names.

        Raises:
            InputError: the numbers are none, or there are more of them.
        """
        path, *numbers = text.split(",")
        try:
            min_score, weight = [float(number) for number in numbers] + [0.3, 1.0][len(numbers) :]
        except ValueError:
            path = ""
        if not path:
            raise InputError(f"expected FILE[,MIN_SCORE[,WEIGHT]], found {text!r}")
        return cls(path=Path(path), min_score=min_score, weight=weight)


@dataclass(frozen=True, kw_only=True)
class ImageDetections:
    """All detections of one image, N of them, in the order of the sources.

    Attributes:
        height: of the image the detector saw, in pixels.
        width: likewise.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in 0..1.
        class_names: [N] as the source's categories call them.
        class_ids: int64 [N], the source's category ids.
        scores: float32 [N] as found (without the source's weight).
        source_index: int64 [N], which source each came from.
        is_tag: bool [N], whether it is a label of the whole image and not an object.
    """

    height: int
    width: int
    boxes: np.ndarray
    class_names: tuple[str, ...]
    class_ids: np.ndarray
    scores: np.ndarray
    source_index: np.ndarray
    is_tag: np.ndarray


@dataclass(frozen=True)
class ImageConcept:
    """One concept of an image.

    Attributes:
        word: the concept.
        score: weighted score of the most certain detection (summed over labels for tags).
        count: how many objects of it were seen; a label of the whole image counts as one.
        box: ymin, xmin, ymax, xmax in 0..1 of the most certain detection.
    """

    word: str
    score: float
    count: int
    box: tuple[float, float, float, float]


def read_detections(sources: Sequence[DetectionSource]) -> dict[str, ImageDetections]:
    """Reads and merges detections.

    A source in which every box is the whole image is a classifier's: its labels are tags. Tags are
    all kept, because `image_concepts` compares their sums with `min_score`.

    Args:
        sources: the files; at least one.

    Returns:
        File name (as in the sources' `images`) -> detections, for every image any source lists,
        also where nothing was found.

    Raises:
        InputError: a file is missing, no JSON or malformed, or has no annotation at all.
    """
    if not sources:
        raise InputError("no file of detections was given")
    sizes: dict[str, tuple[int, int]] = {}
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for index, source in enumerate(sources):
        images, rows = _read_source(source)
        sizes.update({name: sizes.get(name, size) for name, size in images.items()})
        are_tags = all(_is_whole_image(row[1]) for row in rows)
        for file_name, box, class_name, class_id, score in rows:
            if are_tags or score >= source.min_score:
                found[file_name].append((box, class_name, class_id, score, index, are_tags))
    return {name: _pack(size, found.get(name, [])) for name, size in sizes.items()}


def image_concepts(
    detections: ImageDetections,
    dictionary: ConceptDictionary,
    *,
    sources: Sequence[DetectionSource],
    max_concepts: int = 5,
    order: ConceptOrder = "score",
    allowed: Container[str] | None = None,
) -> list[ImageConcept]:
    """The concepts of an image, most certain last.

    Labels of a classifier exclude each other, so those that mean the same concept add up (whippet
    0.2 and saluki 0.2 make dog 0.4) before the sum is compared with the source's `min_score`.

    Args:
        detections: of the image, from `read_detections`.
        dictionary: which class means which concept.
        sources: as given to `read_detections`.
        max_concepts: how many to keep.
        order: `score` keeps the most certain ones; `class_id` reproduces upstream R2M, which sorts
            by class id and keeps the last ones (spec section 2.3).
        allowed: the concepts to choose from; None is all.

    Returns:
        At most `max_concepts` concepts, the one the order puts first at the end.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for position, name in enumerate(detections.class_names):
        for word in dictionary.concepts_of_class(name):
            if allowed is None or word in allowed:
                groups[word, int(detections.source_index[position])].append(position)

    best: dict[str, ImageConcept] = {}
    keys: dict[str, tuple[int, int]] = {}
    for (word, source), positions in groups.items():
        scores = detections.scores[positions]
        top = positions[int(np.argmax(scores))]
        if detections.is_tag[top]:
            score, count = min(float(scores.sum()), 1.0), 1
            if score < sources[source].min_score:
                continue
        else:
            score, count = float(scores.max()), len(positions)
        ymin, xmin, ymax, xmax = detections.boxes[top].tolist()
        found = ImageConcept(word, score * sources[source].weight, count, (ymin, xmin, ymax, xmax))
        class_key = (source, int(detections.class_ids[positions].min()))
        keys[word] = min(keys.get(word, class_key), class_key)
        known = best.get(word, found)
        most_certain = found if found.score > known.score else known
        best[word] = replace(most_certain, count=max(found.count, known.count))
    if order == "class_id":
        chosen = sorted(best.values(), key=lambda c: (keys[c.word], c.word))
    else:
        chosen = sorted(best.values(), key=lambda c: (c.score, c.word))
    return chosen[-max_concepts:]


def _is_whole_image(box: Sequence[float]) -> bool:
    low, high = _WHOLE_IMAGE_MARGIN, 1 - _WHOLE_IMAGE_MARGIN
    return box[0] <= low and box[1] <= low and box[2] >= high and box[3] >= high


def _pack(size: tuple[int, int], rows: Sequence[tuple[Any, ...]]) -> ImageDetections:
    return ImageDetections(
        height=size[0],
        width=size[1],
        boxes=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        class_names=tuple(row[1] for row in rows),
        class_ids=np.array([row[2] for row in rows], np.int64),
        scores=np.array([row[3] for row in rows], np.float32),
        source_index=np.array([row[4] for row in rows], np.int64),
        is_tag=np.array([row[5] for row in rows], bool),
    )


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"there is no file of detections {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the detections {path}: {error}") from error


def _read_source(
    source: DetectionSource,
) -> tuple[dict[str, tuple[int, int]], list[tuple[str, tuple[float, ...], str, int, float]]]:
    """The images (name -> height, width) and the rows (name, box, class, class id, score)."""
    data = _load_json(source.path)
    if isinstance(data, list):
        if source.images is None:
            raise InputError(
                f"{source.path} is a plain list of detections: name the JSON that holds its "
                "`images` and `categories` too"
            )
        data = {**_load_json(source.images), "annotations": data}
    try:
        images = {row["id"]: row for row in data["images"]}
        names = {row["id"]: str(row["name"]) for row in data["categories"]}
        annotations: list[Mapping[str, Any]] = data["annotations"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{source.path}: expected the keys `images`, `annotations` and `categories` of a COCO "
            f"file; {type(error).__name__} {error}"
        ) from error
    if not annotations:
        raise InputError(f"{source.path} has no detection at all (its `annotations` are empty)")
    rows = []
    for number, row in enumerate(annotations):
        try:
            image = images[row["image_id"]]
            x, y, width, height = row["bbox"]
            box = (
                y / image["height"],
                x / image["width"],
                (y + height) / image["height"],
                (x + width) / image["width"],
            )
            clipped = tuple(min(max(edge, 0.0), 1.0) for edge in box)
            category = row["category_id"]
            score = float(row.get("score", 1.0))
            rows.append((image["file_name"], clipped, names[category], category, score))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"{source.path}: annotation {number} is malformed ({type(error).__name__} "
                f"{error}): {json.dumps(row)[:200]}; expected image_id and category_id that the "
                "file lists, and bbox [x, y, width, height] in pixels"
            ) from error
    return {r["file_name"]: (r["height"], r["width"]) for r in images.values()}, rows
