"""Recall, median and mean rank of captions by images (i2t) and of images by captions (t2i).

Similarities, for an image vector v and a caption vector s:

- `cosine`: the inner product v . s, which is the cosine if the embedding has unit vectors. Rows
  are not normalized here: some embeddings (VSE0) rank by vectors of any length.
- `order`: -|| max(0, s - v) ||, of order embeddings (Vendrov et al. 2016).

Definitions (VSE++, Faghri et al. 2018): the rank of an image is the rank of the best of its
captions among all captions; the rank of a caption is the rank of its image among all images. R@K is
the percentage of ranks up to K.

Ties: an item of another image counts as ranked higher unless its similarity is lower by more than
`TIE` times the largest magnitude that similarities of the set can have. An embedding that maps
everything to one vector has recall 0, and float32 rounding does not affect equal captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from r2m.evaluation.similarity_blocks import (
    COSINE,
    SimilarityRows,
    check_similarity,
    pair_similarities,
    similarity_scale,
)
from tfrecords.core.errors import InputError

RECALLS = (1, 5, 10)
DIRECTIONS = ("i2t", "t2i")
TIE = 1e-6
FOLD_IMAGES = 1000
FOLDS = 5


class Member(NamedTuple):
    """Vectors of one embedding; several members form an ensemble.

    Attributes:
        images: float[N, D].
        captions: float[M, D].
        similarity: `cosine` or `order`.
    """

    images: np.ndarray
    captions: np.ndarray
    similarity: str = COSINE


class Ranks(NamedTuple):
    """Ranks, counted from 0, of the correct items.

    Attributes:
        i2t: int64[N], rank of the best caption of each image among all captions.
        t2i: int64[M], rank of the image of each caption among all images.
    """

    i2t: np.ndarray
    t2i: np.ndarray


class Offsets(NamedTuple):
    """Values that are subtracted from the similarities of gallery items, see `hubness`.

    Attributes:
        images: float32[N], subtracted where captions search images.
        captions: float32[M], subtracted where images search captions.
    """

    images: np.ndarray
    captions: np.ndarray


def retrieval_metrics(
    images: np.ndarray, captions: np.ndarray, owners: np.ndarray, similarity: str = COSINE
) -> dict[str, float]:
    """Computes the retrieval metrics of one embedding over all images and captions.

    Args:
        images: float[N, D], one vector per image.
        captions: float[M, D], one vector per caption, at least one caption per image.
        owners: int[M], the row of the image that each caption describes.
        similarity: `cosine` or `order`.

    Returns:
        `i2t_r1`, `i2t_r5`, `i2t_r10` (percent), `i2t_median_rank`, `i2t_mean_rank` (from 1), the
        same of `t2i`, and `recall_sum`, the sum of the six recalls.

    Raises:
        InputError: a value is NaN or infinite, a row is zero, the shapes do not match, or an image
            has no caption.
    """
    return metrics_of_ranks(retrieval_ranks([Member(images, captions, similarity)], owners))


def retrieval_ranks(members: Sequence[Member], owners: np.ndarray) -> Ranks:
    """Ranks captions by images and images by captions.

    Args:
        members: embeddings of the same images and captions, which are ranked by mean similarity.
        owners: int[M], the row of the image that each caption describes.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    return corrected_ranks(members, owners, [None])[0]


def corrected_ranks(
    members: Sequence[Member], owners: np.ndarray, corrections: Sequence[Offsets | None]
) -> list[Ranks]:
    """Computes `retrieval_ranks` once per correction of the similarities.

    Similarities are computed once, for one block of images at a time, so that memory does not grow
    with N * M.

    Args:
        members: see `retrieval_ranks`.
        owners: see `retrieval_ranks`.
        corrections: values that are subtracted from the similarities of gallery items; None for no
            correction.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    owners = check_members(members, owners)
    images = len(members[0].images)
    tie = TIE * max(similarity_scale(*member) for member in members)
    own = mean_pair_similarities(members, owners)
    counts = [_Counts(own, owners, images, tie, offsets) for offsets in corrections]
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(images + 1))
    for start, block in similarity_blocks(members):
        columns = order[starts[start] : starts[start + len(block)]]
        block[owners[columns] - start, columns] = -np.inf
        for each in counts:
            each.add(start, block)
    return [Ranks(each.i2t, each.t2i) for each in counts]


class _Counts:
    """Numbers of items of other images that rank before the correct ones."""

    def __init__(
        self, own: np.ndarray, owners: np.ndarray, images: int, tie: float, offsets: Offsets | None
    ) -> None:
        """Computes the thresholds from which an item counts as ranked higher.

        Args:
            own: float32[M], similarity of each caption to its image.
            owners: int64[M].
            images: N.
            tie: difference up to which a lower similarity still counts as equal.
            offsets: offsets of the correction.
        """
        self._offsets = offsets
        by_image = 0 if offsets is None else offsets.images[owners]
        by_caption = 0 if offsets is None else offsets.captions
        best = np.full(images, -np.inf, np.float32)
        np.maximum.at(best, owners, own - by_caption)
        self._image_bound, self._caption_bound = best - tie, own - by_image - tie
        self.i2t = np.zeros(images, np.int64)
        self.t2i = np.zeros(len(owners), np.int64)

    def add(self, start: int, block: np.ndarray) -> None:
        """Counts in similarities float32[B, M] of all captions to B images from row `start` on."""
        rows = slice(start, start + len(block))
        by_image = by_caption = block
        if self._offsets is not None:
            by_image = block - self._offsets.captions
            by_caption = block - self._offsets.images[rows, None]
        self.i2t[rows] = np.count_nonzero(by_image >= self._image_bound[rows, None], axis=1)
        self.t2i += np.count_nonzero(by_caption >= self._caption_bound, axis=0)


def metrics_of_ranks(ranks: Ranks) -> dict[str, float]:
    """Computes the metrics of `retrieval_metrics` from ranks.

    The median rank is rounded down, as in the published code.
    """
    found: dict[str, float] = {}
    for direction, own in zip(DIRECTIONS, ranks, strict=True):
        for recall in RECALLS:
            found[f"{direction}_r{recall}"] = 100.0 * float(np.mean(own < recall))
        found[f"{direction}_median_rank"] = float(np.floor(np.median(own)) + 1)
        found[f"{direction}_mean_rank"] = float(np.mean(own) + 1)
    found["recall_sum"] = sum(found[f"{way}_r{recall}"] for way in DIRECTIONS for recall in RECALLS)
    return found


def split_folds(
    members: Sequence[Member], owners: np.ndarray, *, images: int = FOLD_IMAGES, folds: int = FOLDS
) -> Iterator[tuple[list[Member], np.ndarray]]:
    """Splits a set into folds of consecutive images, such as the five of "COCO 1K".

    Args:
        members: embeddings of the whole set.
        owners: int[M], the row of the image that each caption describes.
        images: images per fold.
        folds: number of folds; images after them are left out.

    Yields:
        Members and owners of each fold; owners count from its first image.

    Raises:
        InputError: there are fewer images than the folds need.
    """
    owners = check_members(members, owners)
    found = len(members[0].images)
    if found < images * folds:
        raise InputError(
            f"{folds} folds of {images} images need {images * folds} images; found {found}: "
            "evaluate all images at once"
        )
    for start in range(0, images * folds, images):
        rows = np.flatnonzero((owners >= start) & (owners < start + images))
        parts = [
            Member(member.images[start : start + images], member.captions[rows], member.similarity)
            for member in members
        ]
        yield parts, owners[rows] - start


def check_members(members: Sequence[Member], owners: np.ndarray) -> np.ndarray:
    """Checks embeddings and returns the owners as int64[M]; for errors see `retrieval_metrics`."""
    owners = np.asarray(owners)
    if owners.ndim != 1 or not np.issubdtype(owners.dtype, np.integer):
        raise InputError(f"owners: expected int[M], found {owners.dtype}{list(owners.shape)}")
    for number, (images, captions, similarity) in enumerate(members):
        where = f"member {number}: " if len(members) > 1 else ""
        check_similarity(similarity)
        check_rows(images, f"{where}image vectors")
        check_rows(captions, f"{where}caption vectors")
        if images.shape[1] != captions.shape[1]:
            raise InputError(
                f"{where}image vectors have {images.shape[1]} dimensions, caption vectors "
                f"{captions.shape[1]}: expected one embedding"
            )
        if len(captions) != len(owners):
            raise InputError(
                f"{where}{len(captions)} caption vectors for {len(owners)} owners: expected one "
                "row per caption"
            )
        if len(images) != len(members[0].images):
            raise InputError(
                f"{where}{len(images)} image vectors, the first member has "
                f"{len(members[0].images)}: members of an ensemble rank the same images"
            )
    if len({member.similarity for member in members}) > 1:
        raise InputError(
            "an ensemble of cosine and order similarities: their values have different scales; "
            "use members of one similarity"
        )
    count = len(members[0].images)
    outside = np.flatnonzero((owners < 0) | (owners >= count))
    if outside.size:
        raise InputError(
            f"caption {outside[0]} belongs to image {owners[outside[0]]}, but there are {count} "
            f"image vectors ({outside.size} such captions): are image features missing?"
        )
    without = np.flatnonzero(np.bincount(owners, minlength=count) == 0)
    if without.size:
        raise InputError(
            f"image {without[0]} has no caption ({without.size} such images): leave out images "
            "without captions"
        )
    return owners.astype(np.int64)


def check_rows(rows: np.ndarray, name: str) -> None:
    """Checks vectors.

    Raises:
        InputError: the vectors are not a matrix, there are none, a value is NaN or infinite (NaN
            would rank first and inflate recall), or a row is zero, as with missing features.
    """
    if rows.ndim != 2 or not rows.size or not np.issubdtype(rows.dtype, np.floating):
        raise InputError(f"{name}: expected float[N, D], found {rows.dtype}{list(rows.shape)}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"{name}: row {bad[0]} has values that are NaN or infinite ({bad.size} such rows): did "
            "training diverge, or are the features damaged?"
        )
    zero = np.flatnonzero(~rows.any(axis=1))
    if zero.size:
        raise InputError(
            f"{name}: row {zero[0]} is zero ({zero.size} such rows): are its features missing?"
        )


def similarity_blocks(members: Sequence[Member]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the first image of each block and its mean similarities, float32[B, M]."""
    rows = [SimilarityRows(member.captions, member.similarity) for member in members]
    images = [np.asarray(member.images, np.float32) for member in members]
    for start in range(0, len(images[0]), size := rows[0].block_rows):
        block = rows[0](images[0][start : start + size])
        for own, vectors in zip(rows[1:], images[1:], strict=True):
            block += own(vectors[start : start + size])
        if len(members) > 1:
            block /= len(members)
        yield start, block


def mean_pair_similarities(members: Sequence[Member], owners: np.ndarray) -> np.ndarray:
    """Computes the similarity of each caption to its own image, float32[M]."""
    total = np.zeros(len(owners), np.float32)
    for images, captions, similarity in members:
        total += pair_similarities(images, captions, owners, similarity)
    return total / len(members)
