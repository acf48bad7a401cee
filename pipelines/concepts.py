"""Turning the concepts of a record into the encoder's input."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptOptions:
    """What the encoder is shown of a sentence's or an image's concepts.

    Attributes:
        max_concepts: most concepts kept (the last ones: records hold the most important last).
        max_repeats: how often a concept may stand in the input when several such objects are spoken
            of or seen ("two dogs" -> dog dog). 1 shows each once, as upstream does.
    """

    max_concepts: int = 5
    max_repeats: int = 1

    def __post_init__(self) -> None:
        """Refuses sizes below one."""
        for name in ("max_concepts", "max_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")


def assemble(
    ids: tf.RaggedTensor,
    counts: tf.RaggedTensor,
    options: ConceptOptions,
    *,
    key: tf.Tensor | None,
    order: Literal["shuffled", "kept"],
    all_columns: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects, repeats, orders and pads concepts.

    Args:
        ids: int64[B, (K)] vocabulary ids, most important last.
        counts: int64[B, (K)] how many objects of each.
        options: what to keep.
        key: stateless seed int64[2], needed to shuffle.
        order: `shuffled` draws a new order a row, `kept` leaves the record's.
        all_columns: K' is always `max_concepts * max_repeats`, else the most that are there.

    Returns:
        int32[B, K'] 0-padded on the right (K' >= 1), and int32[B] lengths.
    """
    ids = tf.cast(ids[:, -options.max_concepts :], tf.int32)
    counts = tf.cast(counts[:, -options.max_concepts :], tf.int32)
    if order == "shuffled":
        noise = tf.random.stateless_uniform(tf.shape(ids.flat_values), seed=key)
        ids, counts = _sort_rows(ids, counts, ids.with_flat_values(noise))
    if options.max_repeats > 1:
        repeats = tf.clip_by_value(counts.flat_values, 1, options.max_repeats)
        values = tf.repeat(ids.flat_values, repeats)
        lengths = tf.reduce_sum(counts.with_flat_values(repeats), axis=1)
        ids = tf.RaggedTensor.from_row_lengths(values, lengths)
    lengths = tf.cast(ids.row_lengths(), tf.int32)
    # An image without concepts still needs one (masked) column.
    columns = tf.maximum(1, tf.reduce_max(lengths))
    if all_columns:
        columns = tf.constant(options.max_concepts * options.max_repeats)
    return ids.to_tensor(shape=tf.stack([-1, columns])), lengths


def _sort_rows(
    ids: tf.RaggedTensor, counts: tf.RaggedTensor, noise: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Orders the values inside each row by `noise`, all rows in one sort."""
    rank = tf.cast(ids.value_rowids(), tf.float64) + tf.cast(noise.flat_values, tf.float64)
    order = tf.argsort(rank)
    return tuple(x.with_flat_values(tf.gather(x.flat_values, order)) for x in (ids, counts))
