"""Rows of all replicas, for losses that compare with the whole global batch."""

from __future__ import annotations

import tensorflow as tf


def all_gather(tensor: tf.Tensor, *, most_rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows of all replicas in the order of the batch; call it inside a stage's loss.

    Use it rather than the replica context's `all_gather`: in a graph loop TensorFlow keeps the
    shapes of a collective operation from the first step, and fails when the batch size changes. Row
    counts may differ by replica. The gradient is summed over the replicas and sliced to each
    replica's rows, see `r2m.engine.stage`.

    Args:
        tensor: [B_local, ...], this replica's rows.
        most_rows: upper bound of the rows of a global batch.

    Returns:
        [B, ...], the same on every replica, and int32[], offset of this replica's rows in it.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensor, tf.constant(0)
    rows = tf.shape(tensor)[0]
    # Each replica writes its rows at its offset into zeros of a common size; the sum contains all
    # rows.
    replica, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    counts = context.all_reduce("SUM", rows * tf.one_hot(replica, replicas, dtype=tf.int32))
    first, total = tf.reduce_sum(counts[:replica]), tf.reduce_sum(counts)
    with tf.control_dependencies(
        [tf.debugging.assert_less_equal(total, most_rows, "all_gather: more than most_rows")]
    ):
        edges = [[first, most_rows - first - rows]] + [[0, 0]] * (tensor.shape.rank - 1)
        padded = tf.ensure_shape(tf.pad(tensor, edges), [most_rows, *tensor.shape[1:]])
    return context.all_reduce("SUM", padded)[:total], first
