"""Alignment losses: reconstruction and the bidirectional triplet loss."""

from __future__ import annotations

import tensorflow as tf

LossPair = tuple[tf.Tensor, tf.Tensor]


def mean_square(reconstructed: tf.Tensor, original: tf.Tensor) -> LossPair:
    """Computes the squared error between r and v (Guo et al. 2020).

    Args:
        reconstructed: float[B, H].
        original: float[B, H].

    Returns:
        The sum over all elements float32[] and their number float32[]: the quotient is upstream's
        mean over batch and features.
    """
    difference = tf.cast(reconstructed, tf.float32) - tf.cast(original, tf.float32)
    return tf.reduce_sum(tf.square(difference)), tf.cast(tf.size(difference), tf.float32)


def triplet(
    images: tf.Tensor,
    sentences: tf.Tensor,
    *,
    margin: float = 0.2,
    first_row: tf.Tensor | int = 0,
    rows: tf.Tensor | int | None = None,
) -> LossPair:
    """Computes the hinge loss of the hardest negative per row and column of S = u r^T.

    Negatives come from the whole batch, so under data parallelism each replica is given the vectors
    of all replicas and scores its own rows and columns only; the sums then add up to the loss of
    one device (Guo et al. 2020).

    Args:
        images: u float[B, H] of the global batch.
        sentences: r float[B, H] of the global batch, row i belonging to image i.
        margin: by which a pair must beat every other.
        first_row: index of this replica's first row.
        rows: number of this replica's rows; all from `first_row` on when None.

    Returns:
        The sum of row and column hinges float32[] and the number of rows float32[].
    """
    images = tf.cast(images, tf.float32)
    sentences = tf.cast(sentences, tf.float32)
    count = tf.shape(images)[0]
    stop = count if rows is None else first_row + rows
    scores = tf.matmul(images, sentences, transpose_b=True)
    own = tf.linalg.diag_part(scores)
    # A lone row has no negative: minus infinity makes its hinge zero.
    negatives = tf.linalg.set_diag(scores, tf.fill([count], float("-inf")))
    total = tf.nn.relu(margin - own + tf.reduce_max(negatives, 1))
    total += tf.nn.relu(margin - own + tf.reduce_max(negatives, 0))
    total = total[first_row:stop]
    return tf.reduce_sum(total), tf.cast(tf.size(total), tf.float32)
