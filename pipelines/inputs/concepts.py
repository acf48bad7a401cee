"""Concepts of sentences and images."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

import tensorflow as tf

from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ModelInput, register_input


@register_input("concepts")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Concepts(ModelInput):
    """Concepts as word ids, in random order in training.

    Returns `concepts` int32[B, K], padded with zeros, and `concept_lengths` int32[B].

    Attributes:
        max_concepts: maximum number of concepts (the last ones, because records have the most
            important last).
        max_repeats: maximum number of repetitions of a concept that occurs several times ("two
            dogs" -> dog dog). 1, as upstream, repeats none.
    """

    columns = ("concepts", "concept_counts")
    tensors = ("concepts", "concept_lengths")
    max_concepts: int = 5
    max_repeats: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for sizes below one."""
        for name in ("max_concepts", "max_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns concepts with the settings of `config.data`."""
        return [cls(max_concepts=config.data.max_concepts, max_repeats=config.data.max_repeats)]

    def assemble(self, rows: Rows) -> Batch:
        """Selects, orders and pads concepts; see `ModelInput`."""
        key = rows.get("key")
        concepts, lengths = assemble_concepts(
            rows["concepts"],
            rows["concept_counts"],
            self,
            key=key,
            order="kept" if key is None else "shuffled",
        )
        return {"concepts": concepts, "concept_lengths": lengths}

    def signature(self, saved: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
        """Returns the signature, which is the same for all runs."""
        del saved
        return {
            "concepts": tf.TensorSpec([None, None], tf.int32),
            "concept_lengths": tf.TensorSpec([None], tf.int32),
        }

    def advice(self, record_kind: str, available: Collection[str]) -> str:
        """Returns how to build records with concepts."""
        del record_kind, available
        return "build image records with r2m-build-images --detections=FILE"


def assemble_concepts(
    ids: tf.RaggedTensor,
    counts: tf.RaggedTensor,
    options: Concepts,
    *,
    key: tf.Tensor | None,
    order: Literal["shuffled", "kept"],
    all_columns: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects, repeats, orders and pads concepts.

    Args:
        ids: int64[B, (K)], vocabulary ids, most important last.
        counts: int64[B, (K)], number of objects per concept.
        options: limits of concepts and repetitions.
        key: stateless seed int64[2], required for `shuffled`.
        order: `shuffled` draws a new order per row, `kept` keeps the order of the record.
        all_columns: whether K' is always `max_concepts * max_repeats`; if not, it is the largest
            length of the batch.

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
