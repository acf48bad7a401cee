"""Parsing of `captions` records into ragged tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import tensorflow as tf

from pipelines.views import draw_views, view_columns
from tfrecords.core.records import (
    MISCOUNTED_BOXES,
    SENTENCE_LENGTHS,
    SENTENCE_WORDS,
    Records,
    open_records,
)


def open_captions(folder: str) -> Records:
    """Opens `captions` records; raises `InputError` for anything else."""
    return open_records(folder, kind="captions")


def parser(
    records: Records, columns: Collection[str] | None = None, *, views: bool = False
) -> Callable[..., dict[str, Any]]:
    """Returns a function that parses a batch of serialized records.

    Args:
        records: records of kind `captions`.
        columns: names of the columns to parse; None for all.
        views: views of split `train`: uses the features of one of the stored views of each image,
            see `draw_views`. The function then has a second argument, the key of the rows int64[2].

    Returns:
        A function of serialized records string[B] that returns `image_id` and `split` string[B],
        `caption_ids` int64[B, (S)], `texts` string[B, (S)], `sentences` int64[B, (S), (T)] (ragged,
        start and end marker included), `height` and `width` int64[B]; and, if the records contain
        them, `source_id` and `image` string[B], `global_feature` float32[B, D], `grid_feature`
        float32[B, gh, gw, D], `region_feature` float32[B, (N), D] and `boxes` float32[B, (N), 4].
        It raises `InvalidArgumentError` for images whose numbers of boxes and of regions differ, if
        both are requested.
    """
    options = records.manifest["options"]
    every: dict[str, list[int | None]] = {
        "global_feature": [options["feature_size"]],
        "grid_feature": options["grid_shape"],
        "region_feature": [None, options["region_size"]],
    }
    shapes = {kind: every[kind] for kind in every if kind in records.feature_names}
    dtype = tf.as_dtype(options["feature_dtype"])
    one = tf.io.FixedLenFeature([], tf.string)
    number = tf.io.FixedLenFeature([], tf.int64)
    spec: dict[str, Any] = {
        "image_id": one,
        "split": one,
        "caption_ids": tf.io.RaggedFeature(tf.int64),
        "texts": tf.io.RaggedFeature(tf.string),
        "sentences": tf.io.RaggedFeature(
            tf.int64,
            value_key=SENTENCE_WORDS,
            partitions=[tf.io.RaggedFeature.RowLengths(SENTENCE_LENGTHS)],
        ),
        "height": number,
        "width": number,
        **dict.fromkeys(shapes, one),
    }
    spec |= {name: one for name in ("source_id", "image") if name in records.feature_names}
    if "boxes" in records.feature_names:
        rows_of_4 = [tf.io.RaggedFeature.UniformRowLength(4)]
        spec["boxes"] = tf.io.RaggedFeature(tf.float32, partitions=rows_of_4)

    wanted = set(spec if columns is None else columns)
    compared = {"region_feature", "boxes"} <= wanted & spec.keys()
    # The name of the image is for messages.
    read = wanted | {"image_id"} if compared else wanted
    spec = {name: feature for name, feature in spec.items() if name in read}
    shapes = {kind: shape for kind, shape in shapes.items() if kind in wanted}
    if views:
        spec |= view_columns(records, shapes)

    def parse(serialized: tf.Tensor, key: tf.Tensor | None = None) -> dict[str, Any]:
        batch = tf.io.parse_example(serialized, spec)
        if views:
            batch = draw_views(batch, key)
        for kind, shape in shapes.items():
            batch[kind] = _numbers(batch[kind], shape, dtype)
        if compared:
            batch["boxes"] = _one_box_per_region(batch)
        return {name: column for name, column in batch.items() if name in wanted}

    return parse


def examples(records: Records, split: str) -> Iterator[dict[str, Any]]:
    """Yields the images of a split one by one, for galleries and scoring.

    Yields:
        `image_id` str, `source_id` str (the number in the source; empty if it has none), `image`
        bytes (empty if the records contain no pictures), `texts` list of the captions.
    """
    features = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        # Records of earlier builds have none.
        "source_id": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "image": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "texts": tf.io.RaggedFeature(tf.string),
    }
    for serialized in tf.data.TFRecordDataset(records.shards(split)).as_numpy_iterator():
        row = tf.io.parse_single_example(serialized, features)
        yield {
            "image_id": row["image_id"].numpy().decode(),
            "source_id": row["source_id"].numpy().decode(),
            "image": row["image"].numpy(),
            "texts": [text.decode() for text in row["texts"].numpy()],
        }


def _one_box_per_region(batch: dict[str, Any]) -> tf.RaggedTensor:
    """Returns the boxes; fails if the numbers of boxes and regions of an image differ."""
    boxes = batch["boxes"]
    counts, regions = boxes.row_lengths(), batch["region_feature"].row_lengths()
    differ = tf.reshape(tf.where(counts != regions), [-1])
    shown = (tf.gather(x, differ) for x in (batch["image_id"], counts, regions))
    check = tf.debugging.Assert(
        tf.equal(tf.size(differ), 0), [f"{MISCOUNTED_BOXES} (names, boxes, regions)", *shown]
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(boxes)


def _numbers(encoded: tf.Tensor, shape: list[int | None], dtype: tf.DType) -> Any:
    """Returns features float32 from byte strings string[B]; ragged if their number varies."""
    if None not in shape:
        flat = tf.io.decode_raw(encoded, dtype)
        return tf.cast(tf.reshape(flat, [-1, *shape]), tf.float32)
    # One call cannot decode strings of different lengths, but it can decode them all as one.
    size = shape[-1]
    flat = tf.io.decode_raw(tf.strings.reduce_join(encoded), dtype)
    rows = tf.strings.length(encoded) // (size * dtype.size)
    vectors = tf.cast(tf.reshape(flat, [-1, size]), tf.float32)
    return tf.RaggedTensor.from_row_lengths(vectors, rows)
