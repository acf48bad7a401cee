"""Checked boxes of objects in images, the common output of detectors and detection files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# Scores are outputs of a sigmoid; rounding may lift them slightly above 1.
HIGHEST_SCORE = 1.001


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The N objects found in one image.

    Attributes:
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in 0..1, every box with an area.
        class_ids: int64 [N], class ids of the detector.
        class_names: [N], names in its label map.
        scores: float32 [N] in 0..1.
        dropped: reason -> number of objects omitted because they are invalid.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    scores: np.ndarray
    dropped: Mapping[str, int] = field(default_factory=dict)

    def select(self, rows: np.ndarray | Sequence[int]) -> Detections:
        """Returns the boxes at positions, or where a bool array is true; keeps `dropped`."""
        positions = np.arange(len(self.scores))[rows]
        return Detections(
            boxes=self.boxes[positions],
            class_ids=self.class_ids[positions],
            class_names=tuple(self.class_names[i] for i in positions),
            scores=self.scores[positions],
            dropped=self.dropped,
        )

    def best(self, *, min_score: float, most: int) -> Detections:
        """Returns the `most` highest-scoring objects with a score of at least `min_score`."""
        order = np.argsort(-self.scores, kind="stable")
        return self.select(order[self.scores[order] >= min_score][:most])


@dataclass(frozen=True, kw_only=True)
class ImageBoxes:
    """One image of a file of detections.

    Attributes:
        name: name in the file: a file name, or an id without a suffix.
        height: height of the image in pixels; 0 if the file does not contain it.
        width: width of the image in pixels; 0 if the file does not contain it.
        found: its objects, in the order of the file.
    """

    name: str
    height: int
    width: int
    found: Detections


def are_in_pixels(boxes: np.ndarray) -> bool:
    """Returns whether boxes [N, 4] are in pixels: at least three, and half of all, exceed 2."""
    with np.errstate(invalid="ignore"):
        far = int((np.abs(boxes).max(axis=1, initial=0) > 2).sum())
    return far >= 3 and 2 * far >= len(boxes)


def checked_detections(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, classes: Mapping[int, str]
) -> Detections:
    """Keeps the valid objects, clips their boxes and counts the others by reason.

    | reason | fault |
    |---|---|
    | `box_not_finite` | an edge or the score is NaN or infinite |
    | `box_inverted` | an edge is on or before the opposite one: no area |
    | `box_outside` | the box is completely outside the image |
    | `box_score` | the score is not in 0..1 |
    | `box_class` | the class is not in the label map |

    Args:
        boxes: float [N, 4], ymin, xmin, ymax, xmax as fractions of the image's height and width.
        scores: float [N].
        class_ids: [N], whole numbers of any type.
        classes: class id -> name.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores, class_ids = np.asarray(scores, np.float64), np.asarray(class_ids)
    clipped = np.clip(boxes, 0.0, 1.0).astype(np.float32)
    faults = {
        "box_not_finite": ~(np.isfinite(boxes).all(axis=1) & np.isfinite(scores)),
        "box_inverted": _without_area(boxes),
        "box_outside": _without_area(clipped),
        "box_score": (scores < 0) | (scores > HIGHEST_SCORE),
        "box_class": np.array([class_id not in classes for class_id in class_ids.tolist()], bool),
    }
    keep, dropped = np.ones(len(boxes), bool), {}
    for reason, is_faulty in faults.items():
        if count := int((keep & is_faulty).sum()):
            dropped[reason] = count
            keep &= ~is_faulty
    ids = class_ids[keep].astype(np.int64)
    return Detections(
        boxes=clipped[keep],
        class_ids=ids,
        class_names=tuple(classes[class_id] for class_id in ids.tolist()),
        scores=np.minimum(scores[keep], 1.0).astype(np.float32),
        dropped=dropped,
    )


def _without_area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
