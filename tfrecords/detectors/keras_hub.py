"""KerasHub object detectors (RetinaNet, D-FINE), by preset name or folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.detectors.options import DetectorOptions
from tfrecords.language.label_maps import LabelMap, read_label_map
from tfrecords.pictures.boxes import Detections, checked_detections
from tfrecords.pictures.keras_hub_presets import import_keras_hub, opening_preset, sized_converter


class View(NamedTuple):
    """The part of an image that the network processes, in pixels of the image.

    Added borders are outside the image: `top` and `left` are then negative.
    """

    top: int
    left: int
    height: int
    width: int


def open_keras_hub(options: DetectorOptions) -> KerasHubDetector:
    """Opens a preset.

    Raises:
        InputError: KerasHub is not installed, the preset cannot be loaded or is not a detector
            with a fixed image size, or the label map has another number of classes.
    """
    keras_hub = import_keras_hub("detector keras_hub")
    with opening_preset("object detector", options.model):
        model = keras_hub.models.ObjectDetector.from_preset(options.model)
    folder = Path(options.model)
    if folder.is_dir() and model.has_task_weights() and not (folder / "task.weights.h5").is_file():
        raise InputError(
            f"{folder} has no task.weights.h5: its heads would detect at random. Save the whole "
            "detector with save_to_preset"
        )
    return KerasHubDetector(model, options)


class KerasHubDetector:
    """A KerasHub object detector as a `Detector`, in batches of one size."""

    def __init__(self, model: Any, options: DetectorOptions) -> None:
        """Wraps a `keras_hub.models.ObjectDetector`.

        Raises:
            InputError: the preprocessor has no image size, or the label map has another number of
                classes.
        """
        self._converter = sized_converter(model.preprocessor, options.model)
        self._size: tuple[int, int] = tuple(self._converter.image_size)
        label_map = read_label_map(options.label_map)
        self._classes = label_map.classes
        self._class_ids = _class_ids(label_map, model.num_classes, options)
        self._options = options
        # The decoder applies these limits first.
        model.prediction_decoder.confidence_threshold = options.min_score
        model.prediction_decoder.max_detections = options.max_detections
        self._model = model
        # One signature for all batches: the last batch is padded instead of compiled again.
        self._run = tf.function(
            self._forward,
            input_signature=[tf.TensorSpec((options.batch_size, *self._size, 3), tf.float32)],
        )

    def _forward(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        model, (height, width) = self._model, self._size
        outputs = model(images, training=False)
        if "pred_boxes" in outputs:
            # D-FINE: center and size as fractions. KerasHub's decoder treats every box format as
            # yxyx.
            center, size = tf.split(outputs["pred_boxes"], 2, axis=-1)
            corners = tf.concat([center - size / 2, center + size / 2], axis=-1)
            boxes = self._convert(
                corners * [width, height, width, height], "xyxy", model.bounding_box_format
            )
            found = dict(model.prediction_decoder(boxes, outputs["logits"], images=images))
        else:
            found = dict(model.decode_predictions(outputs, images))
        found["boxes"] = self._convert(found["boxes"], model.bounding_box_format, "rel_yxyx")
        return found

    def _convert(self, boxes: tf.Tensor, source: str, target: str) -> tf.Tensor:
        height, width = self._size
        return keras.utils.bounding_boxes.convert_format(
            boxes, source=source, target=target, height=height, width=width
        )

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """See `Detector`."""
        step, found = self._options.batch_size, []
        for start in range(0, len(images), step):
            found += self._detect(images[start : start + step])
        return found

    def _detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        pixels = [tf.cast(self._converter(image[None]), tf.float32)[0] for image in images]
        pixels += [pixels[-1]] * (self._options.batch_size - len(images))
        outputs = {name: value.numpy() for name, value in self._run(tf.stack(pixels)).items()}
        return [
            self._one({name: array[row] for name, array in outputs.items()}, image.shape)
            for row, image in enumerate(images)
        ]

    def _one(self, outputs: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> Detections:
        # The rows after the objects are filled with -1.
        count, (height, width, _) = int(outputs["num_detections"]), shape
        view = processed_part(height, width, self._converter)
        scale = np.array([view.height, view.width] * 2, np.float64)
        offset = np.array([view.top, view.left] * 2, np.float64)
        boxes = (outputs["boxes"][:count] * scale + offset) / np.array([height, width] * 2)
        ids = self._class_ids[outputs["labels"][:count]]
        found = checked_detections(boxes, outputs["confidence"][:count], ids, self._classes)
        options = self._options
        return found.best(min_score=options.min_score, most=options.max_detections)


def processed_part(height: int, width: int, converter: Any) -> View:
    """Returns the part of an image that a `keras_hub.layers.ImageConverter` resizes.

    The converter crops, or adds borders, in whole pixels before it resizes.

    Args:
        height: height of the image, in pixels.
        width: width of the image, in pixels.
        converter: the converter; uses its `image_size` and its aspect-ratio options.
    """
    target_height, target_width = converter.image_size
    fitting_height = int(np.float32(width * target_height) / np.float32(target_width))
    fitting_width = int(np.float32(height * target_width) / np.float32(target_height))
    if converter.crop_to_aspect_ratio:
        part_height = max(min(height, fitting_height), 1)
        part_width = max(min(width, fitting_width), 1)
        return View((height - part_height) // 2, (width - part_width) // 2, part_height, part_width)
    if converter.pad_to_aspect_ratio:
        above = (max(height, fitting_height) - height) // 2
        left = (max(width, fitting_width) - width) // 2
        return View(-above, -left, height + 2 * above, width + 2 * left)
    return View(0, 0, height, width)


def _class_ids(label_map: LabelMap, count: int, options: DetectorOptions) -> np.ndarray:
    """Returns the class id of each output of the network, int64 [count].

    If a network has as many outputs as classes, they are in the order of the ids (COCO: 80). If it
    has more, it has one output per id, including unused ids (COCO: 91).
    """
    ids = sorted(label_map.classes)
    if count == len(ids):
        return np.array(ids, np.int64)
    if ids[0] >= 0 and ids[-1] < count:
        return np.arange(count)
    raise InputError(
        f"{options.model} has {count} classes, {label_map.name} {len(ids)} with ids up to "
        f"{ids[-1]}: give the label map that the detector was trained with"
    )
