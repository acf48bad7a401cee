"""Deterministic epochs: a stream of batches that is a pure function of (seed, epoch, offset).

Nothing here keeps random state. Each epoch's order of shards, of rows and of batches is drawn from
stateless generators keyed by (seed, epoch, window), so that a run resumed at any batch sees exactly
what an uninterrupted run sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Rows = dict[str, Any]

_READ_BUFFER = 8 << 20


def endless(
    make_epoch: Callable[[tf.Tensor], tf.data.Dataset], *, batches_per_epoch: int, first_step: int
) -> tf.data.Dataset:
    """Epoch after epoch from batch number `first_step` on.

    Args:
        make_epoch: epoch int64[] -> the batches of that epoch.
        batches_per_epoch: how many batches each epoch has.
        first_step: number of the first batch wanted, counted from the start of training.
    """
    epoch, offset = divmod(first_step, batches_per_epoch)
    dataset = tf.data.Dataset.counter(epoch).flat_map(make_epoch)
    return dataset.skip(offset) if offset else dataset


def shuffled_batches(
    shards: Sequence[str],
    parse: Callable[[tf.Tensor], Rows],
    *,
    batch_size: int,
    seed: int,
    epoch: tf.Tensor,
    window_batches: int,
    length_of: Callable[[Rows], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """One epoch of batches of parsed rows, shuffled, and bucketed by length if asked.

    Args:
        shards: TFRecord files.
        parse: serialised string[N] -> rows, nested dense or ragged tensors of N rows.
        batch_size: rows a batch; the last batch of a window at the end of the data is smaller.
        seed: of the run.
        epoch: int64[].
        window_batches: batches that are read, parsed, shuffled and sorted by length as one: the
            more, the better the shuffle and the less padding; their serialised rows are in memory.
        length_of: rows -> int[N]; rows of like length then share a batch.

    Returns:
        Datasets of rows, plus `key` int64[2, 2]: two stateless seeds that are this batch's own.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    files = tf.random.experimental.stateless_shuffle(tf.constant(list(shards)), seed=key)
    lines = tf.data.Dataset.from_tensor_slices(files).interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_BUFFER),
        cycle_length=min(8, len(shards)),
        block_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    windows = lines.batch(batch_size * window_batches).enumerate()

    def split(number: tf.Tensor, serialized: tf.Tensor) -> tf.data.Dataset:
        return _window_batches(
            parse(serialized),
            count=tf.size(serialized),
            batch_size=batch_size,
            key=_fold(key, number),
            length_of=length_of,
        )

    return windows.flat_map(split)


def ordered_batches(
    shards: Sequence[str], parse: Callable[[tf.Tensor], Rows], *, batch_size: int
) -> tf.data.Dataset:
    """All rows once, in the order on disk, as batches of parsed rows."""
    lines = tf.data.TFRecordDataset(list(shards), buffer_size=_READ_BUFFER)
    return lines.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """How many batches `shuffled_batches` makes of so many rows."""
    return math.ceil(rows / batch_size)


def round_up(length: tf.Tensor, multiple: int, most: int) -> tf.Tensor:
    """The next multiple, at most `most`: few different shapes, so few programs to compile."""
    return tf.minimum(tf.cast(most, length.dtype), -(-length // multiple) * multiple)


def _fold(key: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """A new stateless seed int64[2] for member `number` of what `key` seeds."""
    return tf.cast(tf.random.experimental.stateless_fold_in(key, number), tf.int64)


def _window_batches(
    rows: Rows,
    *,
    count: tf.Tensor,
    batch_size: int,
    key: tf.Tensor,
    length_of: Callable[[Rows], tf.Tensor] | None,
) -> tf.data.Dataset:
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=key)
    if length_of is not None:
        lengths = tf.gather(length_of(rows), order)
        order = tf.gather(order, tf.argsort(lengths, stable=True))
    starts = tf.range(0, count, batch_size)
    starts = tf.random.experimental.stateless_shuffle(starts, seed=_fold(key, 0))

    def take(start: tf.Tensor) -> Rows:
        chosen = order[start : start + batch_size]
        batch = tf.nest.map_structure(lambda x: tf.gather(x, chosen), rows)
        return {**batch, "key": _fold(key, start + 1)}

    return tf.data.Dataset.from_tensor_slices(starts).map(take)
