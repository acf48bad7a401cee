"""Distillation of similarities: a model learns how similar a teacher finds images and sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from losses.ranking import RankingLoss
from losses.similarities import Similarity, similarities


def distilled_ranking(
    images: tf.Tensor,
    sentences: tf.Tensor,
    *,
    loss: Callable[..., RankingLoss],
    size: int,
    weight: float,
    temperature: float,
    similarity: Similarity = "cosine",
    first_row: tf.Tensor | int = 0,
    rows: tf.Tensor | int | None = None,
    **settings: Any,
) -> RankingLoss:
    """Adds the cross entropy of a teacher's probabilities to a ranking loss.

    The softmax of a row of similarities, divided by the temperature, is a distribution over the
    sentences of an image; that of a column is one over the images of a sentence. In a teacher's
    distribution, a sentence that also describes another image has a share, where the pairs alone
    make it a negative.

    Letters: B pairs of the global batch, D size of the vectors, E size of the teacher's.

    Sources: Hinton et al. 2015, section 2; for images and sentences Wu et al. 2023 (TinyCLIP),
    equation 3.

    Args:
        images: float[B, D + E], the vector of an image, then the teacher's.
        sentences: float[B, D + E], row i belonging to image i.
        loss: a loss of `losses.ranking`.
        size: D.
        weight: share of the cross entropy, 0..1; the rest is that of the ranking loss.
        temperature: divisor of the similarities, of both models.
        similarity: similarity of the model's vectors; the teacher's is the dot product.
        first_row: index of this replica's first pair.
        rows: number of this replica's pairs; all from `first_row` on when None.
        **settings: further arguments of the ranking loss.

    Returns:
        The ranking loss, with the weighted sum as `total`.
    """
    images, sentences = tf.cast(images, tf.float32), tf.cast(sentences, tf.float32)
    stop = tf.shape(images)[0] if rows is None else first_row + rows
    own_images, teacher_images = images[:, :size], tf.stop_gradient(images[:, size:])
    own_sentences, teacher_sentences = sentences[:, :size], tf.stop_gradient(sentences[:, size:])
    total = tf.constant(0.0)
    for by_sentence in (False, True):
        part = slice(first_row, stop)
        left, right = (slice(None), part) if by_sentence else (part, slice(None))
        own = similarities(own_images[left], own_sentences[right], similarity) / temperature
        teacher = tf.matmul(teacher_images[left], teacher_sentences[right], transpose_b=True)
        axis = 0 if by_sentence else 1
        shares = tf.nn.softmax(teacher / temperature, axis=axis)
        logits = tf.nn.log_softmax(own, axis=axis)
        total -= tf.reduce_sum(shares * logits)
    found = loss(
        own_images, own_sentences, similarity=similarity, first_row=first_row, rows=rows, **settings
    )
    return found._replace(total=(1 - weight) * found.total + weight * total)
