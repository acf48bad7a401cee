"""Ranking losses whose negatives come from all replicas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from losses.ranking import RankingLoss
from r2m.engine.distribution.gather import all_gather


def replicas() -> int:
    """Returns the number of replicas that compute the batch; 1 outside a replica function."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def global_ranking(
    loss: Callable[..., RankingLoss],
    images: tf.Tensor,
    sentences: tf.Tensor,
    *,
    most_rows: int,
    owners: tf.Tensor | None = None,
    **settings: Any,
) -> RankingLoss:
    """Computes the ranking loss of this replica's pairs against the whole global batch.

    Args:
        loss: a loss of `losses.ranking`.
        images: float[b, D], vectors of this replica.
        sentences: float[b, D], row i belonging to image i.
        most_rows: upper bound of the pairs of a global batch.
        owners: int[b], see `loss`.
        **settings: arguments of `loss`.
    """
    if replicas() == 1:
        return loss(images, sentences, owners=owners, **settings)
    rows = tf.shape(images)[0]
    all_images, first = all_gather(images, most_rows=most_rows)
    all_sentences, _ = all_gather(sentences, most_rows=most_rows)
    if owners is not None:
        owners, _ = all_gather(owners, most_rows=most_rows)
    return loss(all_images, all_sentences, owners=owners, first_row=first, rows=rows, **settings)
