"""Captions of similar training images, as additional references of rewards."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines.batching import Batch, Rows
from pipelines.caption_batches import CaptionOptions, cut_references
from pipelines.similar_images import read_captioned_images, similarity_weights
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import START_ID


class SimilarReferences:
    """Captions of the K images most similar to each image of a split, by image name.

    Keeps the word ids of all captions in memory.
    """

    columns: tuple[str, ...] = ("image_id",)

    def __init__(self, records: Records, split: str, options: CaptionOptions, count: int) -> None:
        """Reads the captions and finds the similar images.

        Args:
            records: records of kind `captions`.
            split: split of the records.
            options: `max_length` truncates the captions.
            count: K.

        Raises:
            InputError: the records do not contain vectors of images, or have at most `count`
                images.
        """
        try:
            images = read_captioned_images(records, split)
        except InputError as error:
            raise InputError(f"{error}, or set config.reward.neighbors=0") from None
        if count >= len(images.names):
            raise InputError(
                f"config.reward.neighbors={count} is too large: split {split!r} of "
                f"{records.folder} has {len(images.names)} images; set it to at most "
                f"{len(images.names) - 1}"
            )
        logging.info("finding the %d most similar images of each training image", count)
        found = list(images.neighbors(count))
        weights = similarity_weights(np.concatenate([similarities for _, similarities in found]))
        self._neighbors = tf.constant(np.concatenate([n for n, _ in found]), tf.int32)
        self._weights = tf.constant(weights / weights.sum(1, keepdims=True), tf.float32)
        cut = _padded(images.sentences, options)
        self._tokens, self._lengths = cut["references"], cut["reference_lengths"]
        names = tf.constant(images.names)
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(names, tf.range(len(images.names))), -1
        )

    def __call__(self, rows: Rows) -> Batch:
        """Returns the captions of images similar to parsed rows with `image_id` string[B].

        Returns:
            `similar_references` int32[B, K * S, T] for at most S captions per image, without start
            markers; `similar_lengths` int32[B, K * S], 0 where an image has fewer captions;
            `similar_weights` float32[B, K * S], weights of the captions, whose sum is 1. Lengths
            and weights are 0 for an image that is not in the split.
        """
        row = self._rows.lookup(rows["image_id"])
        known = row >= 0
        row = tf.maximum(row, 0)
        images = tf.gather(self._neighbors, row)
        size, width = tf.shape(row)[0], self._tokens.shape[2]
        lengths = tf.where(known[:, None, None], tf.gather(self._lengths, images), 0)
        there = tf.cast(lengths > 0, tf.float32)
        weights = tf.gather(self._weights, row)[:, :, None] * there
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=(1, 2), keepdims=True))
        return {
            "similar_references": tf.reshape(tf.gather(self._tokens, images), [size, -1, width]),
            "similar_lengths": tf.reshape(lengths, [size, -1]),
            "similar_weights": tf.reshape(weights, [size, -1]),
        }


def _padded(sentences: list[list[np.ndarray]], options: CaptionOptions) -> Batch:
    """Returns `cut_references` of captions without start markers."""
    each = [np.append(START_ID, words) for own in sentences for words in own]
    rows = tf.RaggedTensor.from_nested_row_lengths(
        np.concatenate(each), [list(map(len, sentences)), list(map(len, each))]
    )
    return cut_references(rows, options)
