"""Reference captions of `images` records, looked up by image in `captions` records."""

from __future__ import annotations

import tensorflow as tf
from absl import logging

from pipelines import captions
from pipelines.batching import Batch, Rows
from pipelines.caption_batches import CaptionOptions, cut_references
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, check_same_vocabulary

_READ_AT_ONCE = 1_024


class PairedReferences:
    """Captions that people wrote for the images of a split, by the name of the image.

    Keeps the word ids of all captions in memory: about 60 bytes per caption.
    """

    def __init__(
        self, images: Records, records: Records, split: str, options: CaptionOptions
    ) -> None:
        """Reads the captions.

        Args:
            images: records of kind `images`, whose images are looked up.
            records: records of kind `captions`.
            split: split of both.
            options: words of a caption.

        Raises:
            InputError: records of different vocabularies, no such split, or no image of the split
                has a caption.
        """
        check_same_vocabulary(
            str(images.folder), images.vocabulary_sha256,
            str(records.folder), records.vocabulary_sha256,
        )  # fmt: skip
        if split not in records.splits:
            raise InputError(
                f"{records.folder}: no split {split!r} with captions of the images, only "
                f"{', '.join(records.splits)}; build the records with --split={split}=FILE"
            )
        parse = captions.parser(records, ("image_id", "sentences"))
        batches = tf.data.TFRecordDataset(records.shards(split)).batch(_READ_AT_ONCE).map(parse)
        read = list(batches)
        names = tf.concat([batch["image_id"] for batch in read], axis=0)
        rows = [batch["sentences"].with_row_splits_dtype(tf.int64) for batch in read]
        # Images without captions have the empty last row.
        none = tf.ragged.constant([[]], tf.int64, ragged_rank=2, row_splits_dtype=tf.int64)
        self._sentences = tf.concat([*rows, none], axis=0)
        count = len(names)
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(names, tf.range(count)), default_value=count
        )
        self._options = options
        self._check(images, records, split, count)

    def _check(self, images: Records, records: Records, split: str, count: int) -> None:
        spec = {"image_id": tf.io.FixedLenFeature([], tf.string)}
        found, first = 0, b""
        for batch in tf.data.TFRecordDataset(images.shards(split)).batch(_READ_AT_ONCE):
            names = tf.io.parse_example(batch, spec)["image_id"]
            found += int(tf.reduce_sum(tf.cast(self._rows.lookup(names) < count, tf.int32)))
            first = first or names.numpy()[0]
        if not found:
            raise InputError(
                f"no image of split {split!r} of {images.folder} (first: {first.decode()}) has a "
                f"caption in {records.folder}: both must contain the same images by the same names"
            )
        total = images.count(split)
        if found < total:
            logging.warning(
                "%d of %d images of split %r of %s have no caption in %s: their rewards are 0",
                total - found, total, split, images.folder, records.folder,
            )  # fmt: skip

    def __call__(self, rows: Rows) -> Batch:
        """Returns the references of parsed rows with `image_id` string[B].

        Returns:
            `references` int32[B, R, T], without start markers, and `reference_lengths` int32[B, R],
            0 where an image has fewer than R.
        """
        own = tf.gather(self._sentences, self._rows.lookup(rows["image_id"]))
        return cut_references(own, self._options)
