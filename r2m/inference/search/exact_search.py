"""Exact nearest neighbors by matrix products over blocks of memory-mapped float16 vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from r2m.evaluation.similarity_blocks import order_similarities

# Rows that are converted to float32 and compared at once, and number of their similarities.
_BLOCK_ROWS = 1 << 12
_BLOCK_VALUES = 1 << 22
_THREADS = os.cpu_count() or 1

Comparison = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Compares queries float32[Q, D] with rows float32[R, D] to float32[Q, R], larger is closer."""


class Found(NamedTuple):
    """Nearest rows of each query, nearest first.

    Attributes:
        rows: int64[Q, K].
        scores: float32[Q, K].
    """

    rows: np.ndarray
    scores: np.ndarray


def compare_by_product(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes inner products."""
    return queries @ rows.T


def compare_by_angle(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes cosines of unit-length queries and rows of any length."""
    return (queries @ rows.T) / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)


def compare_captions_with_images(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes order similarities of captions (queries) with images (rows)."""
    return order_similarities(rows, queries).T


def compare_images_with_captions(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Computes order similarities of images (queries) with captions (rows)."""
    return order_similarities(queries, rows)


def search_exactly(
    vectors: np.ndarray, queries: np.ndarray, count: int, compare: Comparison
) -> Found:
    """Finds the nearest rows of each query.

    Rows are converted, compared and reduced to their nearest ones block by block: memory does not
    grow with N. The matrix product of a block and its conversion run on all cores.

    Args:
        vectors: float16[N, D], may be memory-mapped.
        queries: float32[Q, D].
        count: K, number of rows to find per query; all rows if there are fewer.
        compare: see `Comparison`.

    Returns:
        The nearest rows; among equal scores, the first rows.
    """
    count = min(count, len(vectors))
    size = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // max(1, len(queries))))
    buffer = np.empty((min(size, len(vectors)), vectors.shape[1]), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(vectors), size):
            block = buffer[: min(size, len(vectors) - start)]
            _convert(vectors[start : start + len(block)], block, threads)
            found = compare(queries, block)
            nearest = _nearest(found, count)
            rows = np.concatenate([rows, nearest + start], axis=1)
            scores = np.concatenate([scores, np.take_along_axis(found, nearest, axis=1)], axis=1)
            kept = _nearest(scores, count)
            rows = np.take_along_axis(rows, kept, axis=1)
            scores = np.take_along_axis(scores, kept, axis=1)
    order = np.lexsort((rows, -scores), axis=1)
    return Found(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _convert(source: np.ndarray, target: np.ndarray, threads: Executor) -> None:
    """Copies rows to float32, one part per thread; NumPy releases the interpreter lock."""
    parts = np.linspace(0, len(source), _THREADS + 1).astype(int)

    def copy(part: int) -> None:
        own = slice(parts[part], parts[part + 1])
        target[own] = source[own]

    list(threads.map(copy, range(_THREADS)))


def _nearest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the columns int64[Q, K] of the largest scores; among equal scores, the first."""
    count = min(count, scores.shape[1])
    if count == scores.shape[1]:
        return np.tile(np.arange(count), (len(scores), 1))
    bound = -np.partition(-scores, count - 1, axis=1)[:, count - 1]
    found = np.empty((len(scores), count), np.int64)
    for query, row in enumerate(scores):
        above = np.flatnonzero(row > bound[query])
        equal = np.flatnonzero(row == bound[query])[: count - len(above)]
        found[query] = np.concatenate([above, equal])
    return found
