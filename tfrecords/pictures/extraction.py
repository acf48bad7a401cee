"""Feature vectors and maps of batches of images."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.layers.folded_network import fold_batch_normalization
from tfrecords.core.errors import InputError
from tfrecords.pictures.backbones import build_network
from tfrecords.pictures.feature_options import DEFAULT_FEATURES, BackboneOptions, FeatureOptions

# Transformers have a class token, and some have registers, before the patch tokens.
_MOST_OTHER_TOKENS = 8


class ImageFeatures(NamedTuple):
    """Features of B images, of type `FeatureOptions.dtype`.

    Attributes:
        grid: [B, gh, gw, D], the feature map; None if missing or not requested.
        pooled: [B, D], its mean over the grid (the mean over all crops, if several).
        maps: float32 [B, H, W, D], the feature map before pooling to a grid and `unit_norm`; None
            if missing or not requested.
    """

    grid: np.ndarray | None
    pooled: np.ndarray
    maps: np.ndarray | None = None

    def stored(self, row: int) -> dict[str, bytes]:
        """Returns the features of one image as little-endian bytes, as stored in records."""
        found = {"global_feature": self.pooled[row]}
        if self.grid is not None:
            found["grid_feature"] = self.grid[row]
        return {
            name: array.astype(array.dtype.newbyteorder("<")).tobytes()
            for name, array in found.items()
        }


class FeatureExtractor:
    """A backbone with its preprocessing, for batches of images.

    Attributes:
        model: the network, without its preprocessing.
        grid_shape: (gh, gw, D) of the feature maps; None for vectors or several crops.
        feature_size: D.
    """

    def __init__(
        self, options: BackboneOptions, features: FeatureOptions = DEFAULT_FEATURES
    ) -> None:
        """Builds the backbone and loads its weights.

        Raises:
            InputError: the name or an option is unknown, or the weights do not fit.
        """
        features.check_fits(options)
        self.options = options
        self.features = features
        self.model, self._preprocess, output_shape = build_network(options)
        self.feature_size: int = output_shape[-1]
        self._map_shape = _map_shape(output_shape, options)
        self.grid_shape: tuple[int, int, int] | None = None
        if self._map_shape and features.crops == 1:
            height, width = [features.grid] * 2 if features.grid else self._map_shape
            self.grid_shape = (height, width, self.feature_size)
        self._square = (options.image_size, options.image_size, 3)
        crops = () if features.crops == 1 else (features.crops,)
        # One signature for all batches: the last one is padded instead of compiled again.
        self._run = tf.function(
            self.features_of,
            input_signature=[tf.TensorSpec((None, *crops, *self._square), tf.float32)],
        )

    @property
    def square(self) -> dict[str, Any]:
        """Arguments of `decoding.make_squares` for the inputs of the network."""
        return {
            "size": self.options.image_size,
            "interpolation": self.options.interpolation,
            "short_side": self.features.short_side,
            "crops": self.features.crops,
        }

    def _maps_and_vectors(self, images: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
        """Returns maps float32[B, H, W, D], or None, and vectors float32[B, D]."""
        maps, vectors = self._single_maps_and_vectors(images)
        if self.features.average_mirrored:
            mirrored, others = self._single_maps_and_vectors(images[:, :, ::-1])
            vectors = (vectors + others) / 2
            if maps is not None and mirrored is not None:
                maps = (maps + mirrored[:, :, ::-1]) / 2
        return maps, vectors

    def _single_maps_and_vectors(self, images: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
        network = fold_batch_normalization(self.model)
        output = network(self._preprocess(images), training=False)
        output = tf.cast(output, tf.float32)
        if self._map_shape is None:
            return None, output
        height, width = self._map_shape
        if len(output.shape) == 3:
            output = output[:, -height * width :]
        maps = tf.reshape(output, (-1, height, width, self.feature_size))
        return maps, tf.reduce_mean(maps, (1, 2))

    def features_of(
        self, images: tf.Tensor
    ) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor | None]:
        """Returns `grid`, `pooled` and `maps` (see `ImageFeatures`) of images; works in a graph.

        Args:
            images: see `__call__`.
        """
        options = self.features
        maps, pooled = self._maps_and_vectors(tf.reshape(images, (-1, *self._square)))
        if options.crops > 1:
            maps = None
            pooled = tf.reduce_mean(
                tf.reshape(pooled, (-1, options.crops, self.feature_size)), axis=1
            )
        grid = maps
        if maps is not None and options.grid:
            grid = adaptive_average_pooling(maps, options.grid)
        found = [item if item is None else self._finish(item) for item in (grid, pooled)]
        return found[0], found[1], maps

    def _finish(self, vectors: tf.Tensor) -> tf.Tensor:
        if self.features.unit_norm:
            norm = tf.norm(vectors, axis=-1, keepdims=True)
            vectors = tf.math.divide_no_nan(vectors, norm)
        return tf.cast(vectors, self.features.dtype)

    def pooled(self, images: tf.Tensor) -> tf.Tensor:
        """Computes mean features in a graph: float32 [B, size, size, 3] in 0..255 -> [B, D]."""
        return self._maps_and_vectors(images)[1]

    def __call__(
        self, images: np.ndarray | tf.Tensor, with_grid: bool = True, with_maps: bool = False
    ) -> ImageFeatures:
        """Computes the features of images.

        Args:
            images: float32 [B, size, size, 3] in 0..255, from `decode_or_fault`; with 10 crops
                [B, 10, size, size, 3].
            with_grid: whether to return `grid`.
            with_maps: whether to return `maps`.

        Raises:
            InputError: the features overflow their dtype, are all zero or not finite.
        """
        grid, pooled, maps = self._run(tf.convert_to_tensor(images, tf.float32))
        found = ImageFeatures(
            grid.numpy() if with_grid and grid is not None else None,
            pooled.numpy(),
            maps.numpy() if with_maps and maps is not None else None,
        )
        fault = ""
        if not found.pooled.any():
            fault = "zero"
        elif not all(np.isfinite(item).all() for item in found if item is not None):
            fault = "not finite"
        if fault:
            raise InputError(
                f"the features of {self.options.name} are {fault} in {self.features.dtype} for a "
                f"batch of {len(found.pooled)} images (weights {self.options.weights!r}); with "
                "random weights, activations vanish in networks without shortcuts: use trained "
                "weights, or DenseNet121"
                + ("; the range of dtype float32 is larger" if fault == "not finite" else "")
            )
        return found


def adaptive_average_pooling(maps: tf.Tensor, size: int) -> tf.Tensor:
    """Pools feature maps of any size to size x size cells.

    Cell i averages the rows floor(i H / size) to ceil((i + 1) H / size) - 1, and the columns in the
    same way. Cells overlap if `size` does not divide H, and repeat if it is larger.

    Args:
        maps: float32 [B, H, W, D]; H and W are static.
        size: cells per side.

    Returns:
        float32 [B, size, size, D].
    """
    rows, columns = (tf.constant(_averages(maps.shape[axis], size)) for axis in (1, 2))
    return tf.einsum("ih,bhwd,jw->bijd", rows, maps, columns)


def cached_extractor(
    options: BackboneOptions, features: FeatureOptions = DEFAULT_FEATURES
) -> FeatureExtractor:
    """Returns the extractor of these options, built once per process (a worker has many shards)."""
    # The extractor treats views as images.
    return _cached_extractor(options, features.without_views())


@lru_cache(maxsize=1)
def _cached_extractor(options: BackboneOptions, features: FeatureOptions) -> FeatureExtractor:
    return FeatureExtractor(options, features)


def _averages(length: int, bins: int) -> np.ndarray:
    """Returns float32 [bins, length]; row i averages the elements of bin i."""
    weights = np.zeros((bins, length), np.float32)
    for i in range(bins):
        start, end = i * length // bins, -(-(i + 1) * length // bins)
        weights[i, start:end] = 1 / (end - start)
    return weights


def _map_shape(output_shape: tuple[int, ...], options: BackboneOptions) -> tuple[int, int] | None:
    """Returns the height and width of the feature map in an output; None for a vector."""
    if len(output_shape) == 1:
        return None
    if len(output_shape) == 3:
        return output_shape[0], output_shape[1]
    # Tokens of a transformer: other tokens, then a square of patches.
    side = isqrt(output_shape[0])
    if output_shape[0] - side * side > _MOST_OTHER_TOKENS:
        raise InputError(
            f"{options.name} returns {output_shape[0]} tokens, which do not form a square of "
            "patches"
        )
    return side, side
