"""Corrections of similarities for hubs: gallery items that are close to many queries.

Both need all queries at once, which a search does not have: reports show them apart from the
metrics and name them as using all queries.

- CSLS (Conneau et al. 2018, arXiv 1710.04087, eq. 4) subtracts from the similarity of a query and a
  gallery item half of the item's mean similarity to its `NEIGHBORS` nearest queries. The term of
  the query does not change its ranks and is left out.
- Inverted softmax (Smith et al. 2017, arXiv 1702.03859, eq. 10) divides exp(SHARPNESS * similarity)
  by its sum over all queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r2m.evaluation.retrieval import Member, Offsets, check_members, similarity_blocks

NEIGHBORS = 10
SHARPNESS = 30.0


def csls_offsets(
    members: Sequence[Member], owners: np.ndarray, neighbors: int = NEIGHBORS
) -> Offsets:
    """Computes what CSLS subtracts from the similarities of each image and each caption.

    Args:
        members: embeddings, see `retrieval_ranks`.
        owners: int[M].
        neighbors: nearest queries that are averaged; all where there are fewer.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    check_members(members, owners)
    images, captions = len(members[0].images), len(owners)
    by_image = np.empty(images, np.float32)
    nearest = np.empty((0, captions), np.float32)
    for start, block in similarity_blocks(members):
        by_image[start : start + len(block)] = _largest(block.T, neighbors).mean(axis=0) / 2
        nearest = _largest(np.concatenate([nearest, _largest(block, neighbors)]), neighbors)
    return Offsets(by_image, nearest.mean(axis=0) / 2)


def inverted_softmax_offsets(
    members: Sequence[Member], owners: np.ndarray, sharpness: float = SHARPNESS
) -> Offsets:
    """Computes what the inverted softmax subtracts from similarities, in their unit.

    Args:
        members: embeddings, see `retrieval_ranks`.
        owners: int[M].
        sharpness: factor of similarities in the exponent.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    check_members(members, owners)
    images, captions = len(members[0].images), len(owners)
    by_image = np.empty(images, np.float32)
    by_caption = np.full(captions, -np.inf, np.float32)
    for start, block in similarity_blocks(members):
        block *= sharpness
        by_image[start : start + len(block)] = np.logaddexp.reduce(block, axis=1)
        by_caption = np.logaddexp(by_caption, np.logaddexp.reduce(block, axis=0))
    return Offsets(by_image / sharpness, by_caption / sharpness)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the `count` largest values of each column (all of fewer), in any order."""
    count = min(count, len(values))
    return np.partition(values, len(values) - count, axis=0)[len(values) - count :]
