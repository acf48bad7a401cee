"""Model inputs of encoded images, inside a graph."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from pipelines.inputs.spec import InputSpec
from r2m.serving.signatures import Tensors, first_fault
from tfrecords.pictures.batch_decoding import OK, decode_batch
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import Interpolation


class GraphImages:
    """Encoded images (an `ImageBatch` of `pipelines.inputs`), decoded inside a graph.

    Invalid images are replaced by gray pixels.

    Attributes:
        status: string [B], `ok` or the problem with an image, once it was decoded.
    """

    def __init__(
        self, encoded: tf.Tensor, extractor: FeatureExtractor | None, max_pixels: int
    ) -> None:
        """Stores the arguments; images are decoded when their pixels are first used.

        Args:
            encoded: string [B].
            extractor: computes features of images; None if the model reads none.
            max_pixels: maximum size of an image.
        """
        self.status = tf.fill(tf.shape(encoded), OK)
        self._encoded, self._extractor, self._max_pixels = encoded, extractor, max_pixels

    def columns(self, names: Collection[str]) -> Tensors:
        """Returns features in the form in which records store them."""
        extractor = self._extractor
        assert extractor is not None, "without columns of features, none are extracted"
        pixels = self._decode(**extractor.square)
        found = columns_of_pixels(pixels, extractor)
        return {name: found[name] for name in names}

    def squashed(self, side: int, interpolation: Interpolation) -> tf.Tensor:
        """Returns the images, resized to squares: float32[B, side, side, 3] in 0..255."""
        return self._decode(side, interpolation)

    def _decode(
        self,
        size: int,
        interpolation: Interpolation,
        *,
        short_side: int | None = None,
        crops: int = 1,
    ) -> tf.Tensor:
        pixels, status = decode_batch(
            self._encoded,
            size,
            short_side=short_side,
            crops=crops,
            interpolation=interpolation,
            max_pixels=self._max_pixels,
        )
        self.status = first_fault(self.status, status)
        return pixels


def columns_of_pixels(pixels: tf.Tensor, extractor: FeatureExtractor) -> Tensors:
    """Returns features float32, as stored in records, of pixels float32[B, (10,) S, S, 3]."""
    grid, pooled, _ = extractor.features_of(pixels)
    found = {"global_feature": pooled}
    if extractor.grid_shape is not None:
        found["grid_feature"] = grid
    # Stored numbers may have half precision.
    return {name: tf.cast(column, tf.float32) for name, column in found.items()}


def inputs_of_images(
    encoded: tf.Tensor, inputs: InputSpec, extractor: FeatureExtractor | None, max_pixels: int
) -> tuple[Tensors, tf.Tensor]:
    """Returns the model inputs of encoded images string [B], and their status string [B]."""
    images = GraphImages(encoded, extractor, max_pixels)
    found = inputs.from_images(images)
    return found, images.status
