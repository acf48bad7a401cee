"""Rows of groups without padding: words of captions, regions of images.

Products of rows (affine maps, norms, feed-forward) run on the rows that exist, [P, D]; attention
runs on padded groups, [G, Q, D]. A `Groups` moves rows between the two. Both ways are gathers of
whole rows, each the other's gradient: TensorFlow's own gradient of a gather is a scatter, which
takes several times as long.

Letters: G groups, Q places of a group, P rows, D their size, h heads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Groups(NamedTuple):
    """Places of P rows in G groups of at most Q.

    Attributes:
        shape: int32[2], G and Q.
        places: int32[P], the place of each row, of the G * Q, in ascending order; None where every
            place has a row.
        sources: int32[G * Q], the row of each place, P where it has none; None where every place
            has a row.
    """

    shape: tf.Tensor
    places: tf.Tensor | None = None
    sources: tf.Tensor | None = None

    def spread(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the groups: [P, D] -> [G, Q, D], 0 at places without a row."""
        if self.places is not None:
            rows = _spread(rows, self.sources, self.places)
        spread = tf.reshape(rows, tf.concat([self.shape, tf.shape(rows)[1:]], axis=0))
        return tf.ensure_shape(spread, [None, None, *rows.shape[1:]])

    def collect(self, groups: tf.Tensor) -> tf.Tensor:
        """Returns the rows: [G, Q, D] -> [P, D]."""
        rows = tf.reshape(groups, tf.concat([[-1], tf.shape(groups)[2:]], axis=0))
        rows = tf.ensure_shape(rows, [None, *groups.shape[2:]])
        return rows if self.places is None else _collect(rows, self.places, self.sources)

    def split_heads(self, rows: tf.Tensor, heads: int, parts: int = 1) -> list[tf.Tensor]:
        """Returns the groups of each head.

        Args:
            rows: [P, parts * D], parts side by side.
            heads: h, which divides D.
            parts: number of parts, such as 3 for queries, keys and values.

        Returns:
            `parts` tensors [G, h, Q, D / h], 0 at places without a row.
        """
        size = rows.shape[-1] // (parts * heads)
        groups, places = tf.unstack(self.shape)
        if self.places is None:
            split = tf.reshape(rows, [groups, places, parts, heads, size])
            split = tf.transpose(split, [2, 0, 3, 1, 4])
        else:
            sources, own = _head_indices(self, heads, parts, tf.shape(rows)[0])
            split = _spread(tf.reshape(rows, [-1, size]), sources, own)
            split = tf.reshape(split, [parts, groups, heads, places, size])
        return tf.unstack(tf.ensure_shape(split, [parts, None, heads, None, size]))

    def merge_heads(self, split: tf.Tensor) -> tf.Tensor:
        """Returns the rows with heads side by side: [G, h, Q, D / h] -> [P, D]."""
        heads, size = split.shape[1], split.shape[3]
        if self.places is None:
            merged = tf.transpose(split, [0, 2, 1, 3])
        else:
            sources, own = _head_indices(self, heads, 1, tf.shape(self.places)[0])
            merged = _collect(tf.reshape(split, [-1, size]), own, sources)
        return tf.reshape(merged, [-1, heads * size])

    def merged(self, groups: tf.Tensor) -> Groups:
        """Returns the same rows in fewer groups, of consecutive ones each: `groups` int32[]."""
        count = tf.reduce_prod(self.shape)
        each = count // tf.maximum(groups, 1)
        return self._replace(shape=tf.stack([groups, each]))

    def compact(self) -> Groups:
        """Returns the same rows in the same groups, at the first places of fewer."""
        if self.places is None:
            return self
        is_row = tf.reshape(self.sources < tf.size(self.places), self.shape)
        counts = tf.reduce_sum(tf.cast(is_row, tf.int32), axis=1)
        # 0 where a replica has no images: the largest of no numbers is the lowest number.
        return packed(counts, tf.maximum(tf.reduce_max(counts), 0))


def full(groups: tf.Tensor, places: tf.Tensor) -> Groups:
    """Returns groups with a row at every place."""
    return Groups(tf.stack([groups, places]))


def packed(lengths: tf.Tensor, places: tf.Tensor) -> Groups:
    """Returns groups whose first `lengths` int32[G] places, of `places` int32[], have a row."""
    real = tf.reshape(tf.sequence_mask(lengths, places), [-1])
    own = tf.cast(tf.where(real)[:, 0], tf.int32)
    before = tf.cumsum(tf.cast(real, tf.int32), exclusive=True)
    sources = tf.where(real, before, tf.size(own))
    return Groups(tf.stack([tf.size(lengths), places]), own, sources)


def _head_indices(
    groups: Groups, heads: int, parts: int, rows: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `sources` of [parts, G, h, Q] in [P, parts, h], and `places` the other way."""
    count, places = tf.unstack(groups.shape)
    assert groups.places is not None
    part = tf.range(parts)
    head = tf.range(heads)
    sources = tf.reshape(groups.sources, [1, count, 1, places])
    sources = (sources * parts + part[:, None, None, None]) * heads + head[:, None]
    sources = tf.minimum(sources, rows * (parts * heads))  # the row of zeros
    own = groups.places[:, None, None]
    group, place = own // places, own % places
    own = ((part[:, None] * count + group) * heads + head) * places + place
    return tf.reshape(sources, [-1]), tf.reshape(own, [-1])


@tf.custom_gradient
def _spread(rows: tf.Tensor, sources: tf.Tensor, places: tf.Tensor) -> Any:
    """Gathers rows of a matrix, the row past the last one being 0; `places` go back."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.gather(upstream, places), None, None

    return tf.gather(_with_zeros(rows), sources), gradient


@tf.custom_gradient
def _collect(rows: tf.Tensor, places: tf.Tensor, sources: tf.Tensor) -> Any:
    """Gathers rows of a matrix, of which `sources` are what `_spread` takes to go back."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.gather(_with_zeros(upstream), sources), None, None

    return tf.gather(rows, places), gradient


def _with_zeros(rows: tf.Tensor) -> tf.Tensor:
    return tf.pad(rows, [[0, 1], [0, 0]])
