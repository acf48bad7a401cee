"""Pairs of an image and one of its captions, for training with a ranking loss.

An epoch contains every caption once. It consists of passes over the images: each pass takes the
next caption of each image, so that a batch rarely contains two captions of the same image.
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
# Number of hash buckets for image names. Hashes are only compared within a batch.
_OWNERS = 2**31 - 1
_MAX_LISTED = 5  # images in an error message
# Maximum number of bytes of records that are kept in memory.
_MAX_BYTES = 256 << 20


class PairCounts(NamedTuple):
    """Numbers of images and pairs of a split.

    Attributes:
        images: number of images of the split.
        pairs: total number of pairs.
        max_captions: maximum number of captions per image.
        by_length: words of a caption, both markers included -> number of captions.
        lines: string[N], the serialized records of all images, reduced to the columns that are
            read, if they fit into memory; None if they are read from disk in every pass.
    """

    images: int
    pairs: int
    max_captions: int
    by_length: dict[int, int]
    lines: tf.Tensor | None = None


@tf.autograph.experimental.do_not_convert
def count_pairs(records: Records, split: str, columns: Sequence[str]) -> PairCounts:
    """Reads a split once, counts its pairs and checks its features.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        columns: stored features that are read.

    Returns:
        The counts, with `lines` None.

    Raises:
        InputError: the features of an image are all zero, which means that they are missing.
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
        shown = ", ".join(missing[:_MAX_LISTED]) + (", ..." if len(missing) > _MAX_LISTED else "")
        raise InputError(
            f"{records.folder}, split {split!r}: the features of images are all zero, which "
            f"means that they are missing ({len(missing)} in all): {shown}. Extract these "
            "features, or build the records without these images"
        )
    return PairCounts(records.count(split), sum(lengths.values()), most, dict(lengths))


@tf.autograph.experimental.do_not_convert
def compact_lines(
    records: Records,
    split: str,
    columns: Sequence[str],
    *,
    views: bool,
    max_bytes: int = _MAX_BYTES,
) -> tf.Tensor | None:
    """Returns the records of a split, reduced to their sentences and the given columns.

    A pass over the full records spends most of its time on feature maps and images that are not
    used.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        columns: columns that are read in addition to image names and sentences.
        views: whether the views of features are also read.
        max_bytes: maximum total size of the reduced records.

    Returns:
        string[N], serialized records; None if they exceed `max_bytes`.
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
        # Extrapolated from the first batch on, so that reading stops early if the total is too big.
        if size * count > max_bytes * len(found):
            return None
    return tf.constant(found)


def image_stream(records: Records, counts: PairCounts, key: tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized records of split `train` as elements string[], shuffled by a key.

    Args:
        records: records of kind `captions`.
        counts: counts of split `train`.
        key: stateless seed int64[2]. The caller shuffles windows of the returned elements again.
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
        Elements of `line` string[] (the serialized record), `caption` int64[] (index of the
        caption) and `length` int64[] (its words, both markers included). The caller shuffles
        windows of these elements again.
    """
    spec = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        SENTENCE_LENGTHS: tf.io.RaggedFeature(tf.int64),
    }

    def choose(number: tf.Tensor, lines: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.io.parse_example(lines, spec)
        there = tf.cast(rows[SENTENCE_LENGTHS].row_lengths(), tf.int64)
        # Each pass takes the caption that follows the one of the previous pass. The first pass
        # starts at a random caption.
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

    pairs = tf.data.Dataset.range(counts.max_captions).flat_map(one_pass).unbatch()
    return pairs.apply(tf.data.experimental.assert_cardinality(counts.pairs))


def owners(image_ids: tf.Tensor) -> tf.Tensor:
    """Hashes image names string[B] to int32[B]; equal names have equal hashes."""
    return tf.cast(tf.strings.to_hash_bucket_fast(image_ids, _OWNERS), tf.int32)


def _rows(column: Any) -> list[Any]:
    """Returns the values of each row of a parsed column."""
    if isinstance(column, tf.RaggedTensor):
        return np.split(column.flat_values.numpy(), column.row_splits.numpy()[1:-1])
    rows: list[Any] = column.numpy().tolist()
    return rows


def _all_zero(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether each string consists of zero bytes only: string[B] -> bool[B]."""
    longest = tf.maximum(tf.reduce_max(tf.strings.length(encoded)), 1)
    values = tf.io.decode_raw(encoded, tf.uint8, fixed_length=longest)
    return tf.reduce_all(values == 0, axis=1)
