"""Batches of images with their concepts, from `images` records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.inputs.spec import PICTURES, InputSpec
from pipelines.views import draw_views, view_columns
from tfrecords.core.records import Records, open_records

# Records may contain whole image files: windows are small, and images need no sorting by length.
_WINDOW_BATCHES = 8
_WINDOW_BATCHES_OF_PICTURES = 1


def open_images(folder: str) -> Records:
    """Opens `images` records; raises `InputError` for anything else."""
    return open_records(folder, kind="images")


def feature_size(records: Records) -> int | None:
    """Returns the length D of the stored global feature vectors, or None without vectors."""
    shape = records.manifest["options"].get("grid_shape")
    return int(shape[-1]) if shape else None


def feature_dtype(records: Records) -> str:
    """Returns the data type of the stored features: `float16` or `float32`."""
    # Older records do not contain this option.
    return records.manifest["options"].get("feature_dtype") or "float16"


def _parser(
    columns: Collection[str], views: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., dict[str, Any]]:
    """Returns a parser of batches of records; for the columns see `_rows`."""
    one, ids = tf.io.FixedLenFeature([], tf.string), tf.io.RaggedFeature(tf.int64)
    known = {
        "image_id": one, "image": one, "global_feature": one, "concepts": ids, "concept_counts": ids
    }  # fmt: skip
    spec = {**{name: known[name] for name in columns}, **views}
    return lambda serialized, *_: tf.io.parse_example(serialized, spec)


def _rows(records: Records, rows: batching.Rows) -> batching.Rows:
    """Decodes the vectors of a batch of parsed rows; until then, float16 takes half the memory.

    Returns:
        The tensors of the parsed columns: `image_id` and `image` string[B], `concepts` and
        `concept_counts` int64[B, (K)], `global_feature` float32[B, D].
    """
    if "global_feature" not in rows:
        return rows
    vectors = tf.io.decode_raw(rows["global_feature"], feature_dtype(records))
    vectors = tf.ensure_shape(vectors, [None, feature_size(records)])
    return {**rows, "global_feature": tf.cast(vectors, tf.float32)}


def training_batches(
    records: Records,
    inputs: InputSpec,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
    more: Callable[[batching.Rows], batching.Batch] | None = None,
) -> tf.data.Dataset:
    """Returns infinitely many training batches of images from batch number `first_step` on.

    Args:
        records: records of kind `images`.
        inputs: inputs that the batches contain.
        batch_size: images per batch (the last of an epoch has fewer).
        seed: seed of the run.
        first_step: number of the first batch.
        own_rows: rows of a batch that this process computes, of several that train together.
        more: computes further tensors from parsed rows, which then contain the image name.

    Returns:
        Batches of the tensors of `inputs`, and of `more`.
    """
    inputs.check(records)
    with_pictures = PICTURES in inputs.columns
    columns = inputs.columns if more is None else ("image_id", *inputs.columns)

    def assemble(rows: batching.Rows) -> batching.Batch:
        batch = inputs.assemble(_rows(records, draw_views(rows, rows["key"])))
        return batch if more is None else {**batch, **more(rows)}

    return batching.training_batches(
        records,
        _parser(columns, view_columns(records, inputs.columns)),
        assemble,
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        window_batches=_WINDOW_BATCHES_OF_PICTURES if with_pictures else _WINDOW_BATCHES,
        finish=lambda batch: inputs.finish(own_rows(batch)),
    )


def image_batches(
    records: Records, split: str, inputs: InputSpec, *, batch_size: int = 256
) -> tf.data.Dataset:
    """Returns all images of a split once, in order: `image_id` string[B] and `inputs`."""
    inputs.check(records)
    return batching.ordered_batches(
        records,
        split,
        _parser(("image_id", *inputs.columns)),
        lambda rows: {
            "image_id": rows["image_id"],
            **inputs.finish(inputs.assemble(_rows(records, rows))),
        },
        batch_size=batch_size,
    )


def examples(records: Records, split: str) -> Iterator[dict[str, Any]]:
    """Yields the images of a split one by one, for galleries and scoring.

    Yields:
        `image_id` str, `source_id` str (the number in the source of the references; empty where it
        has none), `image` bytes, `concepts`, `concept_scores` and `concept_counts` arrays [K],
        `texts` list of the reference captions.
    """
    features = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        # Records of earlier builds have none.
        "source_id": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "image": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "concepts": tf.io.RaggedFeature(tf.int64),
        "concept_scores": tf.io.RaggedFeature(tf.float32),
        "concept_counts": tf.io.RaggedFeature(tf.int64),
        "texts": tf.io.RaggedFeature(tf.string),
    }
    for serialized in tf.data.TFRecordDataset(records.shards(split)).as_numpy_iterator():
        row = tf.io.parse_single_example(serialized, features)
        yield {
            "image_id": row["image_id"].numpy().decode(),
            "source_id": row["source_id"].numpy().decode(),
            "image": row["image"].numpy(),
            "concepts": np.asarray(row["concepts"]),
            "concept_scores": np.asarray(row["concept_scores"]),
            "concept_counts": np.asarray(row["concept_counts"]),
            "texts": [text.decode() for text in row["texts"].numpy()],
        }
