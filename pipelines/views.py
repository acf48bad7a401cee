"""Stored views (augmentations) of images, of which one is drawn per image and epoch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf

from pipelines.batching import Rows
from tfrecords.core.records import Records
from tfrecords.pictures.feature_options import VIEWS

# Folded into the key of rows, so that these draws differ from others with the same key.
_MEMBER = -2


def view_columns(records: Records, columns: Collection[str]) -> dict[str, Any]:
    """Returns the parsing specification of the views of columns; empty if features have no views.

    Features without views, such as regions, describe the whole image. Features that are read
    together with them must then describe the whole image, too, so no views are returned.

    Args:
        records: records whose split `train` is parsed.
        columns: columns to read.
    """
    with_views = [name + VIEWS for name in columns if name.endswith("_feature")]
    if not with_views or not set(with_views) <= set(records.feature_names):
        return {}
    count = records.manifest["options"]["views"]["count"]
    return dict.fromkeys(with_views, tf.io.FixedLenFeature([count], tf.string))


def draw_views(rows: Rows, key: tf.Tensor) -> Rows:
    """Replaces the features of each image with those of one of its views, before decoding.

    The image itself and its views are equally likely. All columns of an image come from the same
    view.

    Args:
        rows: parsed columns string[B], with their views string[B, N] if they have any.
        key: stateless seed int64[2] of the rows.

    Returns:
        The columns without the views.
    """
    views = {name.removesuffix(VIEWS): x for name, x in rows.items() if name.endswith(VIEWS)}
    found = {name: x for name, x in rows.items() if not name.endswith(VIEWS)}
    for name, others in views.items():
        seed = tf.random.experimental.stateless_fold_in(key, _MEMBER)
        count, views_per_image = tf.unstack(tf.shape(others))
        drawn = tf.random.stateless_uniform(
            [count], seed, minval=0, maxval=views_per_image + 1, dtype=tf.int32
        )
        chosen = tf.gather(others, tf.maximum(drawn - 1, 0), batch_dims=1)
        found[name] = tf.where(drawn == 0, found[name], chosen)
    return found
