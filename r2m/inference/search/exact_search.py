"""Exact nearest neighbors by matrix products over blocks of memory-mapped float16 vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from r2m.evaluation.similarity_blocks import order_similarities

# Rows per task of a thread, and rows that are converted to float32 at once.
_TASK_ROWS = 1 << 15
_CONVERTED_ROWS = 1 << 9
# Similarities per task: 16 MiB.
_TASK_VALUES = 1 << 22

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
    """Computes cosines of queries of length 1 and rows of any length."""
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

    Blocks of rows are converted, compared and reduced to their nearest ones by several threads:
    memory does not grow with N.

    Args:
        vectors: float16[N, D], may be memory-mapped.
        queries: float32[Q, D].
        count: K, how many rows to find per query; all where there are fewer.
        compare: see `Comparison`.

    Returns:
        The nearest rows; of equal ones the first.
    """
    count = min(count, len(vectors))
    size = max(_CONVERTED_ROWS, min(_TASK_ROWS, _TASK_VALUES // max(1, len(queries))))

    def search(start: int) -> Found:
        stop = min(start + size, len(vectors))
        scores = np.empty((len(queries), stop - start), np.float32)
        for first in range(start, stop, _CONVERTED_ROWS):
            last = min(first + _CONVERTED_ROWS, stop)
            rows = vectors[first:last].astype(np.float32)
            scores[:, first - start : last - start] = compare(queries, rows)
        nearest = _nearest(scores, count)
        return Found(nearest + start, np.take_along_axis(scores, nearest, axis=1))

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        parts = list(threads.map(search, range(0, len(vectors), size)))
    rows = np.concatenate([part.rows for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :count]
    return Found(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _nearest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the columns int64[Q, K] of the largest scores; of equal ones the first."""
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
