"""Corrections of similarities for hubs: gallery items that are close to many queries.

Both need all queries at once, which are not available in a search. Reports list them separately and
mark them as using all queries.

- CSLS (Conneau et al. 2018, arXiv 1710.04087, eq. 4) subtracts from the similarity of a query and a
  gallery item half of the item's mean similarity to its `NEIGHBORS` nearest queries. The term of
  the query does not change its ranks and is left out.
- Inverted softmax (Smith et al. 2017, arXiv 1702.03859, eq. 10) divides exp(SHARPNESS * similarity)
  by its sum over all queries. Before, similarities are divided by their largest possible magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r2m.evaluation.retrieval import Member, Offsets, check_members, similarity_blocks
from r2m.evaluation.similarity_blocks import similarity_scale

NEIGHBORS = 10
# Best sum of recalls on the 1,000 dev images of Flickr8k among 5, 10, 20, 30 and 60.
SHARPNESS = 10.0


def hub_offsets(members: Sequence[Member], owners: np.ndarray) -> dict[str, Offsets]:
    """Computes the values that both corrections subtract from similarities, per image and caption.

    Args:
        members: embeddings, see `retrieval_ranks`.
        owners: int[M].

    Returns:
        Offsets for `corrected_ranks`, by correction: `csls` and `inverted_softmax`.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    check_members(members, owners)
    images, captions = len(members[0].images), len(owners)
    sharpness = SHARPNESS / max(similarity_scale(*member) for member in members)
    near_images, log_sums = np.empty(images, np.float32), np.empty(images, np.float32)
    nearest = np.empty((0, captions), np.float32)
    sums = np.zeros(captions, np.float64)
    largest = np.full(captions, -np.inf, np.float32)
    for start, block in similarity_blocks(members):
        rows = slice(start, start + len(block))
        near_images[rows] = _largest(block, 1).mean(axis=1)
        nearest = _largest(np.concatenate([nearest, _largest(block, 0)]), 0)
        block *= sharpness
        top = block.max(axis=1, keepdims=True)
        log_sums[rows] = top[:, 0] + np.log(np.exp(block - top).sum(axis=1))
        before, largest = largest, np.maximum(largest, block.max(axis=0))
        sums *= np.exp(before - largest)
        sums += np.exp(np.subtract(block, largest, out=block), out=block).sum(axis=0)
    log_sums_of_captions = (largest + np.log(sums)).astype(np.float32)
    return {
        "csls": Offsets(near_images / 2, nearest.mean(axis=0) / 2),
        "inverted_softmax": Offsets(log_sums / sharpness, log_sums_of_captions / sharpness),
    }


def _largest(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns the `NEIGHBORS` largest values along an axis, or all if fewer, in any order."""
    size = values.shape[axis]
    first = size - min(NEIGHBORS, size)
    return np.take(np.partition(values, first, axis), np.arange(first, size), axis)
