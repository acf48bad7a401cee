"""Similarities of image and caption vectors, `cosine` and `order`, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from losses.similarities import SIMILARITIES
from tfrecords.core.errors import InputError

COSINE = "cosine"
ORDER = "order"
# Number of values in a block of similarities: 32 MiB.
_BLOCK_VALUES = 1 << 23
# Vectors per tile of the order similarity, so that sums fit into the cache of a core, and
# dimensions that are added to each sum at once.
_TILE_ROWS, _TILE_COLUMNS = 128, 512
_DIMENSIONS_AT_ONCE = 16


def check_similarity(name: str) -> None:
    """Raises `InputError` for an unknown similarity."""
    if name not in SIMILARITIES:
        raise InputError(f"unknown similarity {name!r}; known: {', '.join(SIMILARITIES)}")


class SimilarityRows:
    """Similarities of blocks of images to a fixed set of captions.

    Attributes:
        block_rows: rows per call that keep a block within 32 MiB.
    """

    def __init__(self, captions: np.ndarray, similarity: str) -> None:
        """Stores the captions.

        Args:
            captions: float[M, D].
            similarity: `cosine` or `order`.
        """
        check_similarity(similarity)
        captions = np.ascontiguousarray(captions, np.float32)
        self._compare: Callable[[np.ndarray], np.ndarray]
        if similarity == COSINE:
            self._compare = lambda images: images @ captions.T
        else:
            tiles = list(_tiles(captions, _TILE_COLUMNS))
            self._compare = lambda images: _compare_with_tiles(images, tiles, len(captions))
        self.block_rows = max(1, _BLOCK_VALUES // max(1, len(captions)))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the similarities float32[B, M] of images float32[B, D]."""
        return self._compare(images)


def order_similarities(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Computes -|| max(0, s - v) || of all pairs, on all cores.

    Compiled code compares tiles of both. It is an order of magnitude faster than array operations,
    because it keeps the sums of a tile in the cache and visits them once per sixteen dimensions.

    Args:
        images: float32[B, D], the vectors v.
        captions: float32[M, D], the vectors s.

    Returns:
        float32[B, M].
    """
    if len(captions) < len(images):
        # s - v = (-v) - (-s): vector instructions run along the longer side.
        return order_similarities(-captions, -images).T
    return _compare_with_tiles(images, list(_tiles(captions, _TILE_COLUMNS)), len(captions))


def _compare_with_tiles(
    images: np.ndarray, columns: Sequence[tuple[int, tf.Tensor]], captions: int
) -> np.ndarray:
    """Returns the order similarities float32[B, M] of images and the tiles of M captions."""
    found = np.empty((len(images), captions), np.float32)
    height = min(_TILE_ROWS, 1 << max(0, len(images) - 1).bit_length())
    for row, image_tile in _tiles(images, height):
        for column, caption_tile in columns:
            part = found[row : row + height, column : column + _TILE_COLUMNS]
            tile = _compare_tiles(image_tile, caption_tile).numpy()
            part[:] = tile[: part.shape[0], : part.shape[1]]
    return found


def _tiles(vectors: np.ndarray, size: int) -> Iterator[tuple[int, tf.Tensor]]:
    """Yields first row and float32[D / 16, 16, size] of each tile, padded with zeros."""
    steps = -(-vectors.shape[1] // _DIMENSIONS_AT_ONCE)
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        tile = np.zeros((steps * _DIMENSIONS_AT_ONCE, size), np.float32)
        tile[: part.shape[1], : len(part)] = part.T
        yield start, tf.constant(tile.reshape(steps, _DIMENSIONS_AT_ONCE, size))


# XLA fuses the unrolled dimensions into one loop over the sums of a tile.
@tf.function(jit_compile=True, autograph=False)
def _compare_tiles(images: tf.Tensor, captions: tf.Tensor) -> tf.Tensor:
    """Returns the order similarities float32[A, B] of two tiles."""

    def add(step: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, caption = images[step], captions[step]
        for dimension in range(_DIMENSIONS_AT_ONCE):
            above = tf.nn.relu(caption[dimension][tf.newaxis] - image[dimension][:, tf.newaxis])
            total += tf.square(above)
        return step + 1, total

    steps = images.shape[0]
    start = tf.zeros([images.shape[2], captions.shape[2]])
    _, total = tf.while_loop(lambda step, _: step < steps, add, [0, start])
    return -tf.sqrt(total)


def pair_similarities(
    images: np.ndarray, captions: np.ndarray, owners: np.ndarray, similarity: str
) -> np.ndarray:
    """Computes the similarity of each caption to its own image.

    Args:
        images: float[N, D].
        captions: float[M, D].
        owners: int[M], rows of `images`.
        similarity: `cosine` or `order`.

    Returns:
        float32[M].
    """
    found = np.empty(len(owners), np.float32)
    size = max(1, _BLOCK_VALUES // images.shape[1])
    for start in range(0, len(owners), size):
        vectors = np.asarray(images[owners[start : start + size]], np.float32)
        own = np.asarray(captions[start : start + size], np.float32)
        if similarity == COSINE:
            found[start : start + size] = np.einsum("md,md->m", vectors, own)
        else:
            above = np.maximum(own - vectors, 0)
            found[start : start + size] = -np.sqrt(np.einsum("md,md->m", above, above))
    return found


def similarity_scale(images: np.ndarray, captions: np.ndarray, similarity: str) -> float:
    """Returns the largest magnitude that a similarity of these vectors can have."""
    image = float(np.linalg.norm(images, axis=1).max())
    caption = float(np.linalg.norm(captions, axis=1).max())
    return image * caption if similarity == COSINE else image + caption
