"""Features of regions of given boxes, inside a graph.

`tfrecords.pictures.region_pooling` averages feature maps over boxes in NumPy.
"""

from __future__ import annotations

import tensorflow as tf

from r2m.serving.signatures import Tensors
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import FeatureOptions
from tfrecords.pictures.region_pooling import LEAST_SIDE


def columns_of_boxes(
    pixels: tf.Tensor, boxes: tf.Tensor, lengths: tf.Tensor, extractor: FeatureExtractor
) -> Tensors:
    """Returns features, as stored in records, of images and their detected boxes.

    The whole image is the first region of each image, as in records.

    Args:
        pixels: float32[B, S, S, 3].
        boxes: float32[B, N, 4], ymin, xmin, ymax, xmax in 0..1 of the upright image, the most
            certain one first.
        lengths: int32[B], number of valid boxes.
        extractor: extractor of the records.

    Returns:
        `global_feature` float32[B, D], `region_feature` float32[B, (1 + N), D] and `boxes`
        float32[B, (1 + N), 4], ragged.
    """
    _, pooled, maps = extractor.features_of(pixels)
    batch = tf.shape(boxes)[0]
    whole = tf.tile(tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), [batch, 1, 1])
    boxes = tf.concat([whole, tf.clip_by_value(boxes, 0.0, 1.0)], axis=1)
    kept = tf.clip_by_value(lengths, 0, tf.shape(boxes)[1] - 1) + 1
    regions = pool_boxes(maps, boxes, extractor.features)
    ragged = {"region_feature": regions, "boxes": boxes}
    return {
        "global_feature": tf.cast(pooled, tf.float32),
        **{name: tf.RaggedTensor.from_tensor(x, lengths=kept) for name, x in ragged.items()},
    }


def pool_boxes(maps: tf.Tensor, boxes: tf.Tensor, features: FeatureOptions) -> tf.Tensor:
    """Averages feature maps float32[B, gh, gw, D] over boxes [B, N, 4]: float32[B, N, D]."""
    down = _axis_weights(boxes[..., 0], boxes[..., 2], maps.shape[1])
    across = _axis_weights(boxes[..., 1], boxes[..., 3], maps.shape[2])
    vectors = tf.einsum("bnh,bnw,bhwd->bnd", down, across, maps)
    if features.unit_norm:
        norms = tf.norm(vectors, axis=-1, keepdims=True)
        vectors = tf.math.divide_no_nan(vectors, norms)
    return tf.cast(tf.cast(vectors, features.dtype), tf.float32)


def _axis_weights(low: tf.Tensor, high: tf.Tensor, cells: int) -> tf.Tensor:
    """Returns the weight of each cell in the mean over intervals [B, N]: float32[B, N, cells]."""
    grown = tf.maximum(LEAST_SIDE - (high - low), 0.0) / 2
    low, high = (tf.cast(x, tf.float64) * cells - 0.5 for x in (low - grown, high + grown))
    mass = _integrals(high, cells) - _integrals(low, cells)
    return tf.cast(mass / (high - low)[..., tf.newaxis], tf.float32)


def _integrals(ends: tf.Tensor, cells: int) -> tf.Tensor:
    """Returns the integral up to `ends` [B, N] of the weight of each cell: [B, N, cells]."""
    distance = ends[..., tf.newaxis] - tf.range(cells, dtype=tf.float64)
    rising = tf.clip_by_value(distance, -1, 0) + 1
    falling = 1 - tf.clip_by_value(distance, 0, 1)
    found = tf.where(distance < 0, rising**2 / 2, 1 - falling**2 / 2)
    # Before the first cell and after the last one, the interpolation is constant.
    place = tf.range(cells)
    constant = ((place == 0) & (distance < 0)) | ((place == cells - 1) & (distance > 0))
    return tf.where(constant, 0.5 + distance, found)
