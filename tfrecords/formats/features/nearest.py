"""Exact search of the nearest vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_COMPARED_AT_ONCE = 256


def nearest_rows(
    vectors: np.ndarray, gallery: np.ndarray, count: int, own_rows: Sequence[int] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the most similar rows of a gallery for each vector, in batches of B vectors.

    Args:
        vectors: float32[N, D] of norm 1.
        gallery: float32[M, D] of norm 1.
        count: number of rows per vector; all of them if there are fewer.
        own_rows: row of each of the N vectors in the gallery, which is never its own neighbor (then
            M is above `count`); -1 if it is not there. None if none is there.

    Yields:
        Their indices int[B, count], most similar first, and cosine similarities float32[B, count].
    """
    for start in range(0, len(vectors), _COMPARED_AT_ONCE):
        batch = slice(start, start + _COMPARED_AT_ONCE)
        similarities = vectors[batch] @ gallery.T
        if own_rows is not None:
            own = np.asarray(own_rows[batch])
            present = np.flatnonzero(own >= 0)
            similarities[present, own[present]] = -np.inf
        nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        yield nearest, np.take_along_axis(similarities, nearest, axis=1)
