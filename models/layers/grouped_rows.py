"""Rows of groups without padding: words of captions, regions of images.

Row-wise layers (affine maps, norms, feed-forward) run on the real rows only, [P, D]. Attention runs
on padded groups, [G, Q, D]. A `Groups` converts between the two layouts. Both conversions are
gathers of whole rows, and each is the gradient of the other. TensorFlow's gradient of a gather
would be a scatter, which takes several times as long.

Letters: G groups, Q positions per group, P rows, D size of a row, h heads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Groups(NamedTuple):
    """Positions of P rows in G groups of at most Q rows.

    Attributes:
        shape: int32[2], G and Q.
        positions: int32[P], the position of each row among the G * Q positions, in ascending order;
            None if every position has a row.
        row_indices: int32[G * Q], the row at each position, P if the position is padding; None if
            every position has a row.
    """

    shape: tf.Tensor
    positions: tf.Tensor | None = None
    row_indices: tf.Tensor | None = None

    def pad(self, rows: tf.Tensor) -> tf.Tensor:
        """Converts rows to padded groups: [P, D] -> [G, Q, D], 0 at padding."""
        if self.positions is not None:
            rows = _pad(rows, self.row_indices, self.positions)
        padded = tf.reshape(rows, tf.concat([self.shape, tf.shape(rows)[1:]], axis=0))
        return tf.ensure_shape(padded, [None, None, *rows.shape[1:]])

    def unpad(self, groups: tf.Tensor) -> tf.Tensor:
        """Converts padded groups to rows: [G, Q, D] -> [P, D]."""
        rows = tf.reshape(groups, tf.concat([[-1], tf.shape(groups)[2:]], axis=0))
        rows = tf.ensure_shape(rows, [None, *groups.shape[2:]])
        return rows if self.positions is None else _unpad(rows, self.positions, self.row_indices)

    def split_heads(self, rows: tf.Tensor, heads: int, parts: int = 1) -> list[tf.Tensor]:
        """Splits rows into heads and converts them to padded groups.

        Args:
            rows: [P, parts * D], concatenated parts.
            heads: h, which divides D.
            parts: number of parts, such as 3 for queries, keys and values.

        Returns:
            `parts` tensors [G, h, Q, D / h], 0 at padding.
        """
        size = rows.shape[-1] // (parts * heads)
        groups, positions = tf.unstack(self.shape)
        if self.positions is None:
            split = tf.reshape(rows, [groups, positions, parts, heads, size])
            split = tf.transpose(split, [2, 0, 3, 1, 4])
        else:
            row_indices, own = _head_indices(self, heads, parts, tf.shape(rows)[0])
            split = _pad(tf.reshape(rows, [-1, size]), row_indices, own)
            split = tf.reshape(split, [parts, groups, heads, positions, size])
        return tf.unstack(tf.ensure_shape(split, [parts, None, heads, None, size]))

    def merge_heads(self, split: tf.Tensor) -> tf.Tensor:
        """Converts padded groups to rows and concatenates the heads: [G, h, Q, D / h] -> [P, D]."""
        heads, size = split.shape[1], split.shape[3]
        if self.positions is None:
            merged = tf.transpose(split, [0, 2, 1, 3])
        else:
            row_indices, own = _head_indices(self, heads, 1, tf.shape(self.positions)[0])
            merged = _unpad(tf.reshape(split, [-1, size]), own, row_indices)
        return tf.reshape(merged, [-1, heads * size])

    def merged(self, groups: tf.Tensor) -> Groups:
        """Merges consecutive groups into `groups` int32[] larger ones, with the same rows."""
        count = tf.reduce_prod(self.shape)
        each = count // tf.maximum(groups, 1)
        return self._replace(shape=tf.stack([groups, each]))

    def compact(self) -> Groups:
        """Removes padding between rows: moves the rows of each group to its first positions."""
        if self.positions is None:
            return self
        is_row = tf.reshape(self.row_indices < tf.size(self.positions), self.shape)
        counts = tf.reduce_sum(tf.cast(is_row, tf.int32), axis=1)
        # A replica may have no images; reduce_max of an empty tensor is the lowest int32.
        return packed(counts, tf.maximum(tf.reduce_max(counts), 0))


def full(groups: tf.Tensor, positions: tf.Tensor) -> Groups:
    """Returns groups with a row at every position."""
    return Groups(tf.stack([groups, positions]))


def packed(lengths: tf.Tensor, positions: tf.Tensor) -> Groups:
    """Returns groups of `positions` int32[] positions; the first `lengths` int32[G] have a row."""
    real = tf.reshape(tf.sequence_mask(lengths, positions), [-1])
    own = tf.cast(tf.where(real)[:, 0], tf.int32)
    before = tf.cumsum(tf.cast(real, tf.int32), exclusive=True)
    row_indices = tf.where(real, before, tf.size(own))
    return Groups(tf.stack([tf.size(lengths), positions]), own, row_indices)


def _head_indices(
    groups: Groups, heads: int, parts: int, rows: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gather indices that convert [P, parts, h] to [parts, G, h, Q], and back."""
    count, positions = tf.unstack(groups.shape)
    assert groups.positions is not None
    part = tf.range(parts)
    head = tf.range(heads)
    row_indices = tf.reshape(groups.row_indices, [1, count, 1, positions])
    row_indices = (row_indices * parts + part[:, None, None, None]) * heads + head[:, None]
    row_indices = tf.minimum(row_indices, rows * (parts * heads))  # the row of zeros
    own = groups.positions[:, None, None]
    group, position = own // positions, own % positions
    own = ((part[:, None] * count + group) * heads + head) * positions + position
    return tf.reshape(row_indices, [-1]), tf.reshape(own, [-1])


@tf.custom_gradient
def _pad(rows: tf.Tensor, row_indices: tf.Tensor, positions: tf.Tensor) -> Any:
    """Gathers rows of a matrix that is followed by a row of zeros; `positions` are the inverse."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.gather(upstream, positions), None, None

    return tf.gather(_with_zeros(rows), row_indices), gradient


@tf.custom_gradient
def _unpad(rows: tf.Tensor, positions: tf.Tensor, row_indices: tf.Tensor) -> Any:
    """Gathers rows `positions` of a matrix; `row_indices` are the inverse, as in `_pad`."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.gather(_with_zeros(upstream), row_indices), None, None

    return tf.gather(rows, positions), gradient


def _with_zeros(rows: tf.Tensor) -> tf.Tensor:
    return tf.pad(rows, [[0, 1], [0, 0]])
