"""A small detector with the signature of the TensorFlow object detection API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecords.detectors.options import DetectorOptions


def detect_bright(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """The box around the bright pixels of each image as class 2, and what no detector should say.

    Args:
        images: uint8 [B, H, W, 3]; H at least 3.
    """
    shape = tf.shape(images)
    batch, size = shape[0], tf.cast(shape[1:3], tf.float32)
    with tf.control_dependencies([tf.debugging.Assert(shape[1] > 2, ["the image is too low"])]):
        bright = tf.reduce_any(images > 127, axis=-1)
    edges = []
    for axis in (2, 1):
        line = tf.cast(tf.reduce_any(bright, axis=axis), tf.int32)
        first, last = tf.argmax(line, 1), tf.argmax(line[:, ::-1], 1)
        length = tf.shape(line, out_type=tf.int64)[1]
        edges.append((first, length - last))
    (top, bottom), (left, right) = edges
    corners = tf.cast(tf.stack([top, left, bottom, right], axis=1), tf.float32)
    box = corners / tf.tile(size, [2])
    wrong = tf.constant([[0.9, 0.9, 0.1, 0.1], [float("nan")] * 4, [-0.5, 0.2, 1.5, 0.3]])
    unknown, rest = tf.constant([[0.0, 0.0, 0.5, 0.5]]), tf.zeros((2, 4))
    others = tf.tile(tf.concat([wrong, unknown, rest], 0)[None], [batch, 1, 1])
    return {
        "detection_boxes": tf.concat([box[:, None], others], 1),
        "detection_scores": tf.tile([[0.5, 0.9, 0.8, 0.75, 0.7, 0.0, 0.0]], [batch, 1]),
        "detection_classes": tf.tile([[2.0, 1.0, 1.0, 1.0, 7.0, 1.0, 1.0]], [batch, 1]),
        "num_detections": tf.fill([batch], 5.0),
    }


DROPPED = {"box_inverted": 1, "box_not_finite": 1, "box_class": 1}


def bright_image(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """A black image with a white rectangle: top, left, bottom, right in pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[0] : box[2], box[1] : box[3]] = 255
    return image


def options(kind: str, model: Path | str, label_map: Path, **changes: object) -> DetectorOptions:
    return DetectorOptions(kind=kind, model=str(model), label_map=label_map, **changes)  # type: ignore[arg-type]


def write_frozen_graph(path: Path, batch: int | None = 1, dtype: tf.DType = tf.uint8) -> Path:
    """The detector as a TF1 frozen graph."""
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(dtype, [batch, None, None, 3], name="image_tensor")
        for name, tensor in detect_bright(tf.cast(image, tf.uint8)).items():
            tf.identity(tensor, name)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def write_saved_model(folder: Path, batch: int | None = 1, drop: str = "") -> Path:
    """The detector as a TF2 SavedModel, with a variable as real ones have."""
    module = tf.Module()
    module.scale = tf.Variable(1.0)

    def call(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        found = detect_bright(input_tensor)
        found["detection_scores"] *= module.scale
        return {name: tensor for name, tensor in found.items() if name != drop}

    spec = tf.TensorSpec([batch, None, None, 3], tf.uint8, name="input_tensor")
    module.call = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder
