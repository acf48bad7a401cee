"""Inputs, outputs and batching, common to TF1 and TF2 detection graphs.

The names are those of the TensorFlow object detection API: uint8 images [B, H, W, 3] in;
`detection_boxes` [B, N, 4] (ymin, xmin, ymax, xmax in 0..1), `detection_scores` [B, N],
`detection_classes` [B, N] (float, counted from 1) and `num_detections` [B] (float) out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.detectors.options import DetectorOptions
from tfrecords.language.label_maps import read_label_map
from tfrecords.pictures.boxes import Detections, are_in_pixels, checked_detections

OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")


class GraphDetector:
    """A detection graph as a `Detector`: images of equal size are batched if it accepts batches.

    Attributes:
        resources: the owner of the variables of the graph.
    """

    def __init__(
        self,
        run: Callable[[tf.Tensor], Mapping[str, tf.Tensor]],
        image_spec: tf.TypeSpec,
        options: DetectorOptions,
        resources: Any = None,
    ) -> None:
        """Wraps a graph.

        Args:
            run: uint8 [B, H, W, 3] -> the four outputs by name.
            image_spec: dtype and shape of its input.
            options: options of the detections to keep, and the label map.
            resources: the owner of the variables of the graph; None if it has none.

        Raises:
            InputError: the input is not that of the object detection API.
        """
        shape = image_spec.shape
        if (
            image_spec.dtype != tf.uint8
            or shape.rank not in (None, 4)
            or (shape.rank == 4 and (shape[0] not in (None, 1) or shape[1:3] != [None, None]))
        ):
            raise InputError(
                f"{options.model} accepts {image_spec.dtype.name} {shape}; expected a detector of "
                "uint8 images of any size, [1, ?, ?, 3] or [?, ?, ?, 3]"
            )
        self._run, self.resources = run, resources
        self._step = options.batch_size if shape.rank == 4 and shape[0] is None else 1
        self._options = options
        self._classes = read_label_map(options.label_map).classes

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the classes by id."""
        return self._classes

    def run(self, image: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns `OUTPUTS`, with a batch of 1, of an image uint8 [H, W, 3]; works in a graph."""
        return self._run(image[tf.newaxis])

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """See `Detector`."""
        by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, image in enumerate(images):
            by_size[image.shape].append(position)
        found: dict[int, Detections | str] = {}
        for positions in by_size.values():
            for start in range(0, len(positions), self._step):
                group = positions[start : start + self._step]
                found.update(zip(group, self._detect([images[i] for i in group]), strict=True))
        return [found[position] for position in range(len(images))]

    def _detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """Returns the detections in images of one size."""
        try:
            outputs = self._run(tf.constant(np.stack(images)))
        except tf.errors.OpError as error:
            if len(images) > 1:
                return [item for image in images for item in self._detect([image])]
            return [f"{type(error).__name__}: {_reason(error)}"[:300]]
        arrays = {name: np.asarray(outputs[name], np.float64) for name in OUTPUTS}
        self._check(arrays, len(images))
        return [
            self._one({name: array[row] for name, array in arrays.items()})
            for row in range(len(images))
        ]

    def _one(self, arrays: Mapping[str, np.ndarray]) -> Detections:
        # The rows after the objects are filled with zeros.
        count = int(arrays["num_detections"])
        boxes, scores, classes = (arrays[name][:count] for name in OUTPUTS[1:])
        options = self._options
        if are_in_pixels(boxes):
            shown = ", ".join(f"{number:g}" for number in boxes[0])
            raise InputError(
                f"{options.model} returns boxes such as [{shown}]; expected ymin, xmin, ymax, xmax "
                "as fractions of the image, as of the TensorFlow object detection API. Does it "
                "return pixels?"
            )
        found = checked_detections(boxes, scores, classes, self._classes)
        return found.best(min_score=options.min_score, most=options.max_detections)

    def _check(self, arrays: Mapping[str, np.ndarray], batch: int) -> None:
        count, boxes, scores, classes = (arrays[name] for name in OUTPUTS)
        rows = boxes.shape[:2]
        if (
            boxes.shape != (batch, *rows[1:], 4)
            or not scores.shape == classes.shape == rows
            or count.shape != (batch,)
            or not ((count >= 0) & (count <= rows[1])).all()
        ):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise InputError(
                f"{self._options.model} returns {shapes} for {batch} images (num_detections "
                f"{count.ravel()[:3]}); expected [{batch}] and [{batch}, N, 4], [{batch}, N]"
            )


def _reason(error: tf.errors.OpError) -> str:
    """Returns the reason of a failure without the graph node, which differs per loading."""
    lines = str(error.message).split("\n\t [[")[0].splitlines()
    return lines[-1] if lines else ""


def check_names(wanted: Sequence[str], found: Mapping[str, Any], what: str) -> None:
    """Checks that a graph has the names of the object detection API.

    Raises:
        InputError: some names are missing; lists them and the existing ones.
    """
    if missing := [name for name in wanted if name not in found]:
        raise InputError(
            f"{what} has no {', '.join(missing)}; it has "
            f"{', '.join(sorted(found)[:8]) or 'nothing'}. Expected a detector of the TensorFlow "
            f"object detection API with {', '.join(wanted)}"
        )
