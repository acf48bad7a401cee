"""Rows of all replicas, for losses that compare with the whole global batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def all_gather(tensor: tf.Tensor) -> tf.Tensor:
    """The rows of all replicas, in the order of the global batch; call it inside a stage's loss.

    Use it rather than the replica context's `all_gather`: in a graph loop TensorFlow keeps the
    shapes of a collective operation from the first step, and fails when the batch size changes.
    Row counts may differ by replica. The gradient is summed over the replicas and cut back to each
    one's own rows, see `r2m.engine.stage`. For replicas on one machine.

    Args:
        tensor: [B_local, ...], this replica's rows.

    Returns:
        [B, ...], the same on every replica.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensor

    def joined(strategy: tf.distribute.Strategy, rows: Any) -> tf.Tensor:
        return tf.concat(strategy.experimental_local_results(rows), axis=0)

    def summed(
        strategy: tf.distribute.Strategy, gradients: Any, sizes: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        total = tf.add_n(strategy.experimental_local_results(gradients))
        return total, tf.stack(strategy.experimental_local_results(sizes))

    # Gradient tapes do not see what a merge call does.
    @tf.custom_gradient
    def gather(rows: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            size = tf.shape(rows)[0]
            total, sizes = context.merge_call(summed, args=(upstream, size))
            first = tf.reduce_sum(sizes[: context.replica_id_in_sync_group])
            return total[first : first + size]

        return context.merge_call(joined, args=(rows,)), gradient

    return gather(tensor)
