"""Ranking losses of matching images and sentences against non-matching ones.

Letters: B pairs of the global batch, b those of this replica, D size of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

from losses.similarities import Similarity, similarities

Hinges = Literal["sum", "max"]
# Terms of one direction: scores float32[b, B], scores of the pairs float32[b], mask of the
# negatives bool[b, B] -> sum and number of the terms of a loss.
_Terms = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class RankingLoss(NamedTuple):
    """A ranking loss, and statistics that show a collapse; sums over this replica's pairs.

    Attributes:
        total: float32[], sum of the terms.
        terms: float32[], number of the terms. Hinges have two per pair with a negative for `max`,
            two per negative for `sum`; the softmax has two per pair.
        positives: float32[], the sum of the similarities of pairs.
        negatives: float32[], the sum of the similarities of images with other sentences.
        pairs: float32[], number of `positives`.
        others: float32[], number of `negatives`.
    """

    total: tf.Tensor
    terms: tf.Tensor
    positives: tf.Tensor
    negatives: tf.Tensor
    pairs: tf.Tensor
    others: tf.Tensor


def hinge_ranking(
    images: tf.Tensor,
    sentences: tf.Tensor,
    *,
    margin: float,
    hinges: Hinges | tf.Tensor = "sum",
    similarity: Similarity = "cosine",
    owners: tf.Tensor | None = None,
    first_row: tf.Tensor | int = 0,
    rows: tf.Tensor | int | None = None,
) -> RankingLoss:
    """Computes the hinges `max(0, margin - s(pair) + s(negative))` of both directions.

    Negatives of an image are the sentences of the other pairs, those of a sentence the images of
    the other pairs. With data parallelism, each replica receives the vectors of all replicas and
    computes only the terms of its own pairs; the sum over all replicas equals the loss on one
    device.

    Sources: Kiros et al. 2014, equation 2 (sum); Faghri et al. 2018, equation 6 (max), which is
    also the triplet loss of Guo et al. 2020.

    Args:
        images: float[B, D] of the global batch.
        sentences: float[B, D] of the global batch, row i belonging to image i.
        margin: margin by which a pair must exceed every negative.
        hinges: `sum` uses the hinges of all negatives, `max` that of the hardest negative of each
            image and each sentence. A bool[] selects in the graph: True for `max`.
        similarity: see `losses.similarities`.
        owners: int[B], number of the image of each pair: sentences of the same image are not
            negatives. None: all images differ.
        first_row: index of this replica's first pair.
        rows: number of this replica's pairs; all from `first_row` on when None.
    """

    def terms(
        scores: tf.Tensor, pairs: tf.Tensor, negative: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return _hinges(scores, pairs, negative, margin, hinges)

    return _ranking(images, sentences, terms, similarity, owners, first_row, rows)


def softmax_ranking(
    images: tf.Tensor,
    sentences: tf.Tensor,
    *,
    temperature: float,
    similarity: Similarity = "cosine",
    owners: tf.Tensor | None = None,
    first_row: tf.Tensor | int = 0,
    rows: tf.Tensor | int | None = None,
) -> RankingLoss:
    """Computes the cross entropy of each pair among its negatives, in both directions.

    The probability of a pair is `exp(s(pair) / temperature)` divided by the sum of that of the pair
    and of all its negatives. All negatives count, the hard ones more.

    Sources: van den Oord et al. 2018, equation 4 (InfoNCE); Zhang et al. 2020, equations 2 and 3;
    Radford et al. 2021, section 2.3.

    Args:
        images: see `hinge_ranking`.
        sentences: see `hinge_ranking`.
        temperature: divisor of the similarities.
        similarity: see `hinge_ranking`.
        owners: see `hinge_ranking`.
        first_row: see `hinge_ranking`.
        rows: see `hinge_ranking`.
    """

    def terms(
        scores: tf.Tensor, pairs: tf.Tensor, negative: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        masked = tf.where(negative, scores, float("-inf"))
        logits = tf.concat([pairs[:, tf.newaxis], masked], axis=1) / temperature
        total = tf.reduce_sum(tf.reduce_logsumexp(logits, axis=1) - logits[:, 0])
        return total, tf.cast(tf.size(pairs), tf.float32)

    return _ranking(images, sentences, terms, similarity, owners, first_row, rows)


def _ranking(
    images: tf.Tensor,
    sentences: tf.Tensor,
    terms: _Terms,
    similarity: Similarity,
    owners: tf.Tensor | None,
    first_row: tf.Tensor | int,
    rows: tf.Tensor | int | None,
) -> RankingLoss:
    images, sentences = tf.cast(images, tf.float32), tf.cast(sentences, tf.float32)
    count = tf.shape(images)[0]
    stop = count if rows is None else first_row + rows
    own = tf.range(first_row, stop)
    if owners is None:
        owners = tf.range(count)
    negative = tf.not_equal(owners[first_row:stop, tf.newaxis], owners[tf.newaxis])
    by_image = similarities(images[first_row:stop], sentences, similarity)
    alone = rows is None and isinstance(first_row, int) and first_row == 0
    if alone:
        by_sentence = tf.transpose(by_image)
    else:
        by_sentence = tf.transpose(similarities(images, sentences[first_row:stop], similarity))
    pairs = tf.gather(by_image, own, batch_dims=1)
    sums = [terms(scores, pairs, negative) for scores in (by_image, by_sentence)]
    there = tf.cast(negative, tf.float32)
    return RankingLoss(
        total=sums[0][0] + sums[1][0],
        terms=sums[0][1] + sums[1][1],
        positives=tf.reduce_sum(pairs),
        negatives=tf.reduce_sum(by_image * there),
        pairs=tf.cast(tf.size(pairs), tf.float32),
        others=tf.reduce_sum(there),
    )


def _hinges(
    scores: tf.Tensor,
    pairs: tf.Tensor,
    negative: tf.Tensor,
    margin: float,
    hinges: Hinges | tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sum and number of the hinges of one direction.

    Args:
        scores: float32[b, B].
        pairs: float32[b], the scores of the pairs.
        negative: bool[b, B].
        margin: see `hinge_ranking`.
        hinges: see `hinge_ranking`.
    """
    # Minus infinity makes a hinge zero, as for a pair without negatives.
    masked = tf.where(negative, scores, float("-inf"))
    slack = margin - pairs

    def of_all() -> tuple[tf.Tensor, tf.Tensor]:
        total = tf.reduce_sum(tf.nn.relu(slack[:, tf.newaxis] + masked))
        return total, tf.math.count_nonzero(negative, dtype=tf.float32)

    def of_hardest() -> tuple[tf.Tensor, tf.Tensor]:
        # The maximum over zero columns, on a replica without pairs, is also minus infinity.
        total = tf.reduce_sum(tf.nn.relu(slack + tf.reduce_max(masked, axis=1)))
        return total, tf.math.count_nonzero(tf.reduce_any(negative, axis=1), dtype=tf.float32)

    if isinstance(hinges, str):
        return {"sum": of_all, "max": of_hardest}[hinges]()
    return tf.cond(hinges, of_hardest, of_all)
