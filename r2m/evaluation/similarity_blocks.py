"""Similarities of image and caption vectors, `cosine` and `order`, in blocks of bounded memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from losses.similarities import SIMILARITIES
from tfrecords.errors import InputError

COSINE = "cosine"
ORDER = "order"
# Values of a block of similarities: 32 MiB.
_BLOCK_VALUES = 1 << 23
# Values of intermediate results of the order similarity: they fit into the cache of a core.
_CACHED_VALUES = 1 << 16


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
        """Keeps the captions.

        Args:
            captions: float[M, D].
            similarity: `cosine` or `order`.
        """
        check_similarity(similarity)
        self._captions = np.ascontiguousarray(captions, np.float32)
        self._similarity = similarity
        self.block_rows = max(1, _BLOCK_VALUES // max(1, len(captions)))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the similarities float32[B, M] of images float32[B, D]."""
        if self._similarity == COSINE:
            return images @ self._captions.T
        return order_similarities(images, self._captions)


def order_similarities(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Computes -|| max(0, s - v) || of all pairs, on all cores.

    Args:
        images: float32[B, D], the vectors v.
        captions: float32[M, D], the vectors s.

    Returns:
        float32[B, M].
    """
    found = np.empty((len(images), len(captions)), np.float32)
    # A loop in Python over the shorter side, blocks of the longer one.
    by_caption = len(captions) < len(images)
    rows, columns = (images, captions) if by_caption else (captions, images)
    size = max(1, _CACHED_VALUES // images.shape[1])

    def fill(start: int) -> None:
        block = rows[start : start + size]
        room = np.empty_like(block)
        target = found.T if by_caption else found
        for place, vector in enumerate(columns):
            if by_caption:
                np.subtract(vector, block, out=room)
            else:
                np.subtract(block, vector, out=room)
            np.maximum(room, 0, out=room)
            np.einsum("md,md->m", room, room, out=target[place, start : start + size])

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:  # NumPy leaves the interpreter lock
        list(threads.map(fill, range(0, len(rows), size)))
    return np.negative(np.sqrt(found, out=found), out=found)


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
