"""Reader of detections in folders of `detections` records (`r2m-detect-objects`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.records import open_records
from tfrecords.core.tensorflow_messages import plain_message
from tfrecords.formats.detections.box_evidence import BoxEvidence
from tfrecords.formats.detections.box_formats import WrittenBoxes
from tfrecords.pictures.boxes import Detections, ImageBoxes

_READ_AT_ONCE = 256


def read_detection_records(folder: Path) -> Iterator[ImageBoxes]:
    """Yields every image of all splits, in the order of the records.

    Raises:
        InputError: the records are unfinished, damaged or of another kind, or their boxes were read
            in the wrong format.
    """
    records = open_records(folder, kind="detections")
    evidence = BoxEvidence(folder, "relative_yxyx", percent=False)
    # Importing TensorFlow takes seconds; other sources do not need it.
    import tensorflow as tf

    one, several = tf.io.FixedLenFeature, tf.io.RaggedFeature
    spec = {
        "image_id": one([], tf.string),
        "height": one([], tf.int64),
        "width": one([], tf.int64),
        "boxes": several(tf.float32),
        "classes": several(tf.int64),
        "class_names": several(tf.string),
        "scores": several(tf.float32),
    }
    for split in records.splits:
        count = 0
        try:
            for batch in tf.data.TFRecordDataset(records.shards(split)).batch(_READ_AT_ONCE):
                parsed = tf.io.parse_example(batch, spec)
                columns = {name: _rows(values) for name, values in parsed.items()}
                for row in range(len(batch)):
                    count += 1
                    image = _image({name: column[row] for name, column in columns.items()})
                    evidence.add(_written(image, split), image.height, image.width)
                    yield image
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise InputError(
                f"the {split} records of {folder} are damaged ({plain_message(error.message)}): "
                "build them again with --overwrite"
            ) from error
        if count != records.count(split):
            raise InputError(
                f"{folder} has {count} {split} records, its manifest lists {records.count(split)}: "
                "build them again with --overwrite"
            )
    evidence.check()


def _rows(values: Any) -> Any:
    """Splits a parsed feature into one row per record: slices of arrays, not tensors."""
    if hasattr(values, "row_splits"):
        return np.split(values.flat_values.numpy(), values.row_splits.numpy()[1:-1])
    return values.numpy()


def _written(image: ImageBoxes, split: str) -> WrittenBoxes:
    found = image.found
    return WrittenBoxes(
        image.name,
        image.height,
        image.width,
        found.boxes,
        found.scores,
        found.class_ids,
        lambda row: f"split {split}, image {image.name!r}, box {row}",
    )


def _image(row: dict[str, Any]) -> ImageBoxes:
    return ImageBoxes(
        name=row["image_id"].decode(),
        height=int(row["height"]),
        width=int(row["width"]),
        found=Detections(
            boxes=row["boxes"].reshape(-1, 4),
            class_ids=row["classes"],
            class_names=tuple(name.decode() for name in row["class_names"]),
            scores=row["scores"],
        ),
    )
