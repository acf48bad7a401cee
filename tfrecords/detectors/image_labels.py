"""Labels of whole images, by a network that scores all classes for one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfrecords.detectors.options import DetectorOptions
from tfrecords.pictures.boxes import Detections, checked_detections

# Pictures uint8 [H, W, 3] -> the scores in 0..1 of all classes, [pictures, C].
Score = Callable[[Sequence[np.ndarray]], np.ndarray]
# Side of a corner crop as a fraction of that of the image.
_CORNER = 2 / 3


def label_images(
    images: Sequence[np.ndarray], score: Score, classes: dict[int, str], options: DetectorOptions
) -> list[Detections | str]:
    """Returns the labels of each image, with the whole image as the box of each.

    With `options.crops` = 5 the score of a class is its highest score among the image and its four
    corner crops, in which small objects appear larger.

    Args:
        images: uint8 [H, W, 3] each, of any sizes.
        score: of as many pictures as `options.batch_size` at once; the classes in the order of
            their ids.
        classes: id -> name.
        options: number of crops, batch size, and the labels to keep.
    """
    pictures = [crop for image in images for crop in _crops(image, options.crops)]
    step = options.batch_size
    scores = [score(pictures[start : start + step]) for start in range(0, len(pictures), step)]
    ids = np.array(sorted(classes))
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(ids), 1))
    best = np.concatenate(scores).reshape(len(images), options.crops, len(ids)).max(axis=1)
    return [
        checked_detections(boxes, own, ids, classes).best(
            min_score=options.min_score, most=options.max_detections
        )
        for own in best
    ]


def _crops(image: np.ndarray, count: int) -> Iterator[np.ndarray]:
    yield image
    if count == 1:
        return
    height, width = (max(round(side * _CORNER), 1) for side in image.shape[:2])
    for rows in (slice(height), slice(-height, None)):
        for columns in (slice(width), slice(-width, None)):
            yield image[rows, columns]
