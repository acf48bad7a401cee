"""Splitting batches over workers, replicas and the parts that gradients are accumulated over."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from r2m.engine.distribution.workers import this_worker


def share(batch: Any, part: Any, parts: int) -> Any:
    """Returns part `part` of a batch's rows: ceil(B / parts) rows; fewer or none in the last parts.

    Args:
        batch: nested tensors with the batch as first dimension; scalars are not split.
        part: int or int64[].
        parts: number of parts.
    """
    if parts == 1:
        return batch

    def rows(tensor: Any) -> Any:
        if tensor.shape.rank == 0:
            return tensor
        size = tf.shape(tensor, out_type=tf.int64)[0]
        each = -(-size // parts)
        first = tf.minimum(part * each, size)
        return tensor[first : tf.minimum(first + each, size)]

    return tf.nest.map_structure(rows, batch)


def distribute(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Splits each batch of this worker evenly over its replicas, in order.

    TensorFlow's own way (`experimental_distribute_dataset`) re-batches: after a ragged batch it
    fills up from the next one, which moves the boundaries of all later batches.

    Args:
        dataset: infinite dataset; for the division of its batches see `share`.
        strategy: strategy whose replicas receive them.

    Returns:
        An iterable that yields one value per replica.
    """
    replicas = strategy.num_replicas_in_sync // this_worker(strategy).count

    def shares(*elements: Any) -> tf.data.Dataset:
        # tf.data passes the elements of a tuple one by one.
        batch = elements if isinstance(dataset.element_spec, tuple) else elements[0]
        return tf.data.Dataset.range(replicas).map(lambda replica: share(batch, replica, replicas))

    def local_shares(_: tf.distribute.InputContext) -> tf.data.Dataset:
        split = dataset if replicas == 1 else dataset.flat_map(shares)
        # For infinite datasets, the iterator needs no branch for its end in every step.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return split.apply(endless).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(local_shares)
