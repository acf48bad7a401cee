"""Approximate nearest neighbors by inner product, with the optional package faiss-cpu.

Vectors are divided into cells by k-means, and stored as float16. A search compares the vectors of
the cells whose centers are nearest to the query.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from r2m.inference.search.exact_search import Found
from tfrecords.core.errors import InputError

PROBES = 32
# Vectors per cell that k-means of faiss recommends, and rows that are converted at once.
_TRAINING_ROWS = 39
_ROWS_AT_ONCE = 1 << 15


def import_faiss() -> Any:
    """Imports faiss; raises `InputError` where it is not installed."""
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise InputError(
            f"approximate search needs the package faiss-cpu ({error}): pip install 'r2m[faiss]', "
            "or leave out --approximate"
        ) from error


def write_approximate(vectors: np.ndarray, file: Path) -> None:
    """Divides vectors into cells and writes the search structure.

    Args:
        vectors: float16[N, D], may be memory-mapped.
        file: file to write.

    Raises:
        InputError: faiss is not installed.
    """
    faiss = import_faiss()
    count, size = vectors.shape
    cells = max(1, min(int(4 * math.sqrt(count)), count // _TRAINING_ROWS))
    centers = faiss.IndexFlatIP(size)
    index = faiss.IndexIVFScalarQuantizer(
        centers, size, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    sample = np.random.default_rng(0).choice(
        count, min(count, cells * 2 * _TRAINING_ROWS), replace=False
    )
    index.train(vectors[np.sort(sample)].astype(np.float32))
    for start in range(0, count, _ROWS_AT_ONCE):
        index.add(vectors[start : start + _ROWS_AT_ONCE].astype(np.float32))
    faiss.write_index(index, str(file))


class ApproximateSearch:
    """Loaded search structure of `write_approximate`."""

    def __init__(self, file: Path, probes: int = PROBES) -> None:
        """Loads the structure.

        Args:
            file: file written by `write_approximate`.
            probes: cells searched per query; more cells take longer and find more of the nearest
                vectors.

        Raises:
            InputError: faiss is not installed or cannot read the file.
        """
        faiss = import_faiss()
        try:
            self._index = faiss.read_index(str(file))
        except RuntimeError as error:
            raise InputError(
                f"{file} cannot be read by faiss: build the index again with --overwrite"
            ) from error
        self._index.nprobe = min(probes, self._index.nlist)

    def __call__(self, queries: np.ndarray, count: int) -> Found:
        """Returns the nearest vectors of queries float32[Q, D]; row -1 where fewer were found."""
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, np.float32), min(count, self._index.ntotal)
        )
        return Found(rows.astype(np.int64), scores)
