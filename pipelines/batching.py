"""Deterministic epochs: a stream of batches that is a pure function of (seed, epoch, offset).

This module keeps no random state. Each epoch's order of shards, of rows and of batches is drawn
from stateless generators keyed by (seed, epoch, window), so that a run resumed at any batch gets
exactly the batches of an uninterrupted run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from tfrecords.core.records import Records

Rows = dict[str, Any]
Batch = dict[str, tf.Tensor]
Parse = Callable[[tf.Tensor], Rows]
ParseTraining = Callable[[Any, tf.Tensor], Rows]
# Key int64[2] of an epoch (a stateless seed) -> its elements in order, nested tensors or strings.
Elements = Callable[[tf.Tensor], tf.data.Dataset]

_READ_BUFFER = 8 << 20
# Rows per batch of `parsed_rows`.
_READ_AT_ONCE = 4096

# AutoGraph is off: no function here branches on a tensor, and rewriting the functions that tf.data
# calls takes longer than tracing them.
_untransformed = tf.autograph.experimental.do_not_convert


def unchanged(batch: Batch) -> Batch:
    """Returns the batch itself: all of its rows, for a process that trains alone."""
    return batch


@_untransformed
def training_batches(
    records: Records,
    parse: ParseTraining,
    assemble: Callable[[Rows], Batch],
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    window_batches: int,
    length_of: Callable[[Rows], tf.Tensor] | None = None,
    finish: Callable[[Batch], Batch] = unchanged,
    elements: tuple[Elements, int] | None = None,
) -> tf.data.Dataset:
    """Returns infinitely many batches of split `train` from `first_step` on, shuffled per epoch.

    Args:
        records: records that contain the rows.
        parse: serialized string[N] and their key int64[2] (a stateless seed) -> rows, nested dense
            or ragged tensors of N rows.
        assemble: the rows of a batch, plus `key` int64[2] (a stateless seed of this batch) -> the
            batch.
        batch_size: rows per batch; the last batch of a window at the end of an epoch is smaller.
        seed: seed of the run.
        first_step: number of the first batch, counted from the start of training.
        window_batches: batches that are read, parsed, shuffled and sorted by length together. More
            batches improve the shuffle and reduce padding; two such windows are in memory.
        length_of: rows -> int[N]; rows of similar length then share a batch.
        finish: last operation on a batch, such as keeping the rows of this process.
        elements: elements parsed instead of the serialized records of an epoch, and their number.
    """
    lines_of, rows = elements or (partial(shuffled_lines, records), records.count("train"))

    def windows_of(epoch: tf.Tensor) -> tf.data.Dataset:
        key = epoch_key(seed, epoch)
        lines = lines_of(key).batch(batch_size * window_batches)
        return lines.enumerate().map(lambda number, lines: (fold_in(key, number), lines))

    def prepare(key: tf.Tensor, lines: Any) -> tuple[tf.Tensor, Rows, tf.Tensor]:
        window = parse(lines, key)
        lengths = None if length_of is None else length_of(window)
        count = tf.shape(tf.nest.flatten(lines)[0])[0]
        return key, window, _shuffled_order(count, lengths, key)

    def batches_of(key: tf.Tensor, window: Rows, order: tf.Tensor) -> tf.data.Dataset:
        starts = tf.range(0, tf.size(order), batch_size)
        starts = tf.random.experimental.stateless_shuffle(starts, seed=fold_in(key, 0))

        def take(start: tf.Tensor) -> Rows:
            chosen = order[start : start + batch_size]
            batch = tf.nest.map_structure(lambda x: tf.gather(x, chosen), window)
            return {**batch, "key": fold_in(key, start + 1)}

        return tf.data.Dataset.from_tensor_slices(starts).map(take)

    first_epoch, offset = divmod(first_step, batches_per_epoch(rows, batch_size))
    whole_windows, offset = divmod(offset, window_batches)
    windows = tf.data.Dataset.counter(first_epoch).flat_map(windows_of).skip(whole_windows)
    # The next window, possibly of the next epoch, is read while the batches of this one are used.
    batches = windows.map(prepare).prefetch(1).flat_map(batches_of).skip(offset)
    return batches.map(
        lambda rows: finish(assemble(rows)), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)


@_untransformed
def ordered_batches(
    records: Records,
    split: str,
    parse: Parse,
    assemble: Callable[[Rows], Batch],
    *,
    batch_size: int,
) -> tf.data.Dataset:
    """Returns all rows of a split once, in the order on disk; `assemble` receives no key."""
    lines = tf.data.TFRecordDataset(records.shards(split), buffer_size=_READ_BUFFER)
    return (
        _counted(lines, records.count(split))
        .batch(batch_size)
        .map(lambda lines: assemble(parse(lines)), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


@_untransformed
def parsed_rows(records: Records, split: str, spec: Mapping[str, Any]) -> tf.data.Dataset:
    """Returns large batches of all rows of a split, parsed as in `tf.io.parse_example`."""
    return ordered_batches(
        records,
        split,
        lambda lines: tf.io.parse_example(lines, spec),
        unchanged,
        batch_size=_READ_AT_ONCE,
    )


def epoch_key(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Returns the stateless seed int64[2] of an epoch int64[]."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])


def shuffled_lines(records: Records, key: tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized records of split `train`, string[], in an order determined by a key.

    Only shards and short runs of their records are reordered; callers must shuffle windows of
    records.
    """
    shards, rows = records.shards("train"), records.count("train")
    files = tf.random.experimental.stateless_shuffle(tf.constant(shards), seed=key)
    lines = tf.data.Dataset.from_tensor_slices(files).interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_BUFFER),
        cycle_length=min(8, len(shards)),
        block_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _counted(lines, rows)


def _counted(lines: tf.data.Dataset, rows: int) -> tf.data.Dataset:
    """Checks at the end that the number of lines is that of the manifest."""
    return lines.apply(tf.data.experimental.assert_cardinality(rows))


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Returns the number of batches per epoch of `training_batches`."""
    return math.ceil(rows / batch_size)


def round_up(length: tf.Tensor, multiple: int, most: int) -> tf.Tensor:
    """Returns the next multiple, at most `most`."""
    return tf.minimum(tf.cast(most, length.dtype), -(-length // multiple) * multiple)


def fold_in(key: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Returns a new stateless seed int64[2] for use `number` of `key`."""
    return tf.cast(tf.random.experimental.stateless_fold_in(key, number), tf.int64)


def _shuffled_order(count: tf.Tensor, lengths: tf.Tensor | None, key: tf.Tensor) -> tf.Tensor:
    """Returns the rows of a window in random order, or sorted by ascending length if given."""
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=key)
    if lengths is None:
        return order
    return tf.gather(order, tf.argsort(tf.gather(lengths, order), stable=True))
