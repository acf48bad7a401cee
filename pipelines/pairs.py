"""Pairs of an image and one of its captions, for training with a ranking loss.

An epoch contains every caption once. It consists of passes over the images: each pass uses one
further caption of each image, so that a batch rarely contains two captions of an image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.views import view_columns
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS, Records

_READ_AT_ONCE = 256
# Owners are compared within a batch only.
_OWNERS = 2**31 - 1
_NAMED = 5  # images in a message
# Bytes of records that are kept in memory.
_MEMORY = 256 << 20


class PairCounts(NamedTuple):
    """Numbers of the pairs of a split.

    Attributes:
        images: images of the split.
        pairs: total number of pairs.
        most: captions of the image with the most.
        by_length: words of a caption, both markers included -> number of captions.
        lines: string[N], the records of all images without what is not read, where they fit into
            memory; None: they are read from disk in every pass.
    """

    images: int
    pairs: int
    most: int
    by_length: dict[int, int]
    lines: tf.Tensor | None = None


@tf.autograph.experimental.do_not_convert
def count_pairs(records: Records, split: str, columns: Sequence[str]) -> PairCounts:
    """Reads a split once, counts its pairs and checks its features.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        columns: stored features that are read.

    Raises:
        InputError: an image has features that are all zero, which means that they are missing.
    """
    spec = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        SENTENCE_LENGTHS: tf.io.RaggedFeature(tf.int64),
        **{
            name: tf.io.FixedLenFeature([], tf.string)
            for name in columns
            if name.endswith("_feature")
        },
    }

    def read(lines: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = tf.io.parse_example(lines, spec)
        empty = tf.zeros_like(rows["image_id"], tf.bool)
        for name in spec.keys() - {"image_id", SENTENCE_LENGTHS}:
            empty |= _all_zero(rows[name])
        found = tf.boolean_mask(rows["image_id"], empty)
        return rows[SENTENCE_LENGTHS].values, rows[SENTENCE_LENGTHS].row_lengths(), found

    lengths: Counter[int] = Counter()
    missing: list[str] = []
    most = 0
    lines = tf.data.TFRecordDataset(records.shards(split)).batch(_READ_AT_ONCE)
    for own, counts, empty in lines.map(read, tf.data.AUTOTUNE).as_numpy_iterator():
        values, numbers = np.unique(own, return_counts=True)
        lengths.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        most = max(most, int(counts.max()))
        missing += [name.decode() for name in empty]
    if missing:
        shown = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise InputError(
            f"{records.folder}, split {split!r}: the features of images are all zero, as if they "
            f"were missing ({len(missing)} in all): {shown}. Make these features, or build the "
            "records without these images"
        )
    return PairCounts(records.count(split), sum(lengths.values()), most, dict(lengths))


@tf.autograph.experimental.do_not_convert
def compact_lines(
    records: Records, split: str, columns: Sequence[str], *, views: bool, most_bytes: int = _MEMORY
) -> tf.Tensor | None:
    """Returns the records of a split with their sentences and some columns only.

    Feature maps and pictures that are not read take most of the time of a pass over the images.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        columns: columns that are read in addition to names and sentences.
        views: whether the views of features are read, too.
        most_bytes: maximum size of all lines.

    Returns:
        string[N], serialized; None where the lines are larger.
    """
    text = [name for name in ("image_id", *columns) if name != "boxes"]
    spec: dict[str, Any] = {name: tf.io.FixedLenFeature([], tf.string) for name in text}
    spec |= {name: tf.io.RaggedFeature(tf.int64) for name in (SENTENCE_WORDS, SENTENCE_LENGTHS)}
    if "boxes" in columns:
        spec["boxes"] = tf.io.RaggedFeature(tf.float32)
    if views:
        spec |= view_columns(records, columns)
    found: list[bytes] = []
    size, count = 0, records.count(split)
    lines = tf.data.TFRecordDataset(records.shards(split)).batch(_READ_AT_ONCE)
    parsed = lines.map(lambda batch: tf.io.parse_example(batch, spec), tf.data.AUTOTUNE)
    for rows in parsed:
        values = {name: _rows(column) for name, column in rows.items()}
        own = [
            encode_example(dict(zip(values, row, strict=True)))
            for row in zip(*values.values(), strict=True)
        ]
        found += own
        size += sum(map(len, own))
        # Estimated after the first batch: the rest is not read in vain.
        if size * count > most_bytes * len(found):
            return None
    return tf.constant(found)


def image_stream(records: Records, counts: PairCounts, key: tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized records of split `train` in the order of a key, string[] each.

    Args:
        records: records of kind `captions`.
        counts: counts of split `train`.
        key: stateless seed int64[2]. Windows of what it gives are to be shuffled.
    """
    if counts.lines is None:
        return batching.shuffled_lines(records, key)
    shuffled = tf.random.experimental.stateless_shuffle(counts.lines, seed=key)
    return tf.data.Dataset.from_tensor_slices(shuffled)


@tf.autograph.experimental.do_not_convert
def pair_stream(records: Records, counts: PairCounts, key: tf.Tensor) -> tf.data.Dataset:
    """Returns the pairs of an epoch of split `train`, each once.

    Args:
        records: records of kind `captions`.
        counts: counts of split `train`.
        key: stateless seed int64[2] of the epoch.

    Returns:
        Elements of `line` string[] (the serialized record), `caption` int64[] (its index) and
        `length` int64[] (its words, both markers included). Windows of them are to be shuffled.
    """
    spec = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        SENTENCE_LENGTHS: tf.io.RaggedFeature(tf.int64),
    }

    def choose(number: tf.Tensor, lines: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.io.parse_example(lines, spec)
        there = tf.cast(rows[SENTENCE_LENGTHS].row_lengths(), tf.int64)
        # The pass takes the caption after that of the pass before, from a random first one on.
        epoch = tf.strings.reduce_join(tf.strings.as_string(key), separator=" ")
        salted = tf.strings.join([rows["image_id"], epoch], "\n")
        first = tf.strings.to_hash_bucket_fast(salted, _OWNERS)
        left = there > number
        captions = tf.boolean_mask((first + number) % tf.maximum(there, 1), left)
        starts = tf.boolean_mask(tf.cast(rows[SENTENCE_LENGTHS].row_starts(), tf.int64), left)
        return {
            "line": tf.boolean_mask(lines, left),
            "caption": captions,
            "length": tf.gather(rows[SENTENCE_LENGTHS].values, starts + captions),
        }

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        lines = image_stream(records, counts, batching.fold_in(key, -1 - number))
        return lines.batch(_READ_AT_ONCE).map(
            partial(choose, number), num_parallel_calls=tf.data.AUTOTUNE
        )

    pairs = tf.data.Dataset.range(counts.most).flat_map(one_pass).unbatch()
    return pairs.apply(tf.data.experimental.assert_cardinality(counts.pairs))


def owners(image_ids: tf.Tensor) -> tf.Tensor:
    """Returns a number per image name string[B], int32[B], the same for the same name."""
    return tf.cast(tf.strings.to_hash_bucket_fast(image_ids, _OWNERS), tf.int32)


def _rows(column: Any) -> list[Any]:
    """Returns the values of each row of a parsed column."""
    if isinstance(column, tf.RaggedTensor):
        return np.split(column.flat_values.numpy(), column.row_splits.numpy()[1:-1])
    rows: list[Any] = column.numpy().tolist()
    return rows


def _all_zero(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether all bytes of each string are zero: string[B] -> bool[B]."""
    longest = tf.maximum(tf.reduce_max(tf.strings.length(encoded)), 1)
    values = tf.io.decode_raw(encoded, tf.uint8, fixed_length=longest)
    return tf.reduce_all(values == 0, axis=1)
