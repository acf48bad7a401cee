"""Batches of images with their concepts, from `images` records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from pipelines import batching, concepts, pixels
from tfrecords.errors import InputError
from tfrecords.records import Records, open_records

# Records may carry whole image files: windows are small, and images need no sorting by length.
_WINDOW_BATCHES = {"features": 8, "pixels": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What the image side of the alignment stages is fed with.

    Attributes:
        source: `features` reads the stored CNN vectors; `pixels` decodes and crops the images for a
            CNN in the model.
        resize: side the image is squashed to before cropping, pixels (upstream: 346).
        crop: side of the random crop in training and of the centre crop in validation
            (upstream: 299).
    """

    source: Literal["features", "pixels"] = "features"
    resize: int = 346
    crop: int = 299

    def __post_init__(self) -> None:
        """Refuses unknown sources and crops larger than the image."""
        if self.source not in ("features", "pixels"):
            raise ValueError(f"unknown image source {self.source!r}; known: features, pixels")
        if self.crop > self.resize:
            raise ValueError(f"crop ({self.crop}) is larger than resize ({self.resize})")


def open_images(folder: str) -> Records:
    """Opens `images` records; raises `InputError` for anything else."""
    return open_records(folder, kind="images")


def feature_size(records: Records) -> int | None:
    """Length D of the stored global feature vectors, None where none are stored."""
    shape = records.manifest["options"].get("grid_shape")
    return int(shape[-1]) if shape else None


def feature_dtype(records: Records) -> str:
    """How the stored features are encoded: `float16` or `float32`."""
    # Records built before there was a choice do not say.
    return records.manifest["options"].get("feature_dtype") or "float16"


def training_batches(
    records: Records,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    concept_options: concepts.ConceptOptions,
    image_options: ImageOptions,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
) -> tf.data.Dataset:
    """Endless training batches of images from batch number `first_step` on.

    Args:
        records: of kind `images`.
        batch_size: images a batch (the last of an epoch has fewer).
        seed: of the run.
        first_step: number of the first batch.
        concept_options: how concepts are selected; their order is drawn anew each time.
        image_options: features or pixels.
        own_rows: which rows of a batch this process computes, of several that train together.

    Returns:
        Batches of `concepts` int32[B, K], `concept_lengths` int32[B] and either `features`
        float32[B, D] or `pixels` float32[B, crop, crop, 3] in 0..255.
    """
    check_source(records, image_options)
    dtype = feature_dtype(records)
    return batching.training_batches(
        records,
        _parser(image_options),
        lambda rows: _assemble(rows, concept_options, image_options, "shuffled", dtype),
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        window_batches=_WINDOW_BATCHES[image_options.source],
        finish=lambda batch: _finish(own_rows(batch), image_options),
    )


def validation_batches(
    records: Records,
    split: str,
    *,
    batch_size: int,
    concept_options: concepts.ConceptOptions,
    image_options: ImageOptions,
) -> tf.data.Dataset:
    """All images of a split once, in order, as `training_batches` (centre crops of pixels)."""
    check_source(records, image_options)
    dtype = feature_dtype(records)
    return batching.ordered_batches(
        records,
        split,
        _parser(image_options),
        lambda rows: _finish(
            _assemble(rows, concept_options, image_options, "kept", dtype), image_options
        ),
        batch_size=batch_size,
    )


def concept_batches(
    records: Records, split: str, *, concept_options: concepts.ConceptOptions, batch_size: int = 256
) -> tf.data.Dataset:
    """All images of a split once, in order, with what captioning needs.

    Returns:
        Batches of `image_id` string[B], `concepts` int32[B, K] (most confident last) and
        `concept_lengths` int32[B].
    """

    def assemble(rows: batching.Rows) -> batching.Batch:
        words, lengths = concepts.assemble(
            rows["concepts"], rows["concept_counts"], concept_options, key=None, order="kept"
        )
        return {"image_id": rows["image_id"], "concepts": words, "concept_lengths": lengths}

    return batching.ordered_batches(
        records, split, _parser(None, extra=_IDENTITY), assemble, batch_size=batch_size
    )


def examples(records: Records, split: str) -> Iterator[dict[str, Any]]:
    """The images of a split one by one, for galleries and scoring.

    Yields:
        `image_id` str, `source_id` str (the number in the source of the references; empty where it
        has none), `image` bytes, `concepts` and `concept_scores` arrays [K], `texts` list of
        the reference captions.
    """
    features = {
        **_IDENTITY,
        # Records of earlier builds have none.
        "source_id": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "image": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "concepts": tf.io.RaggedFeature(tf.int64),
        "concept_scores": tf.io.RaggedFeature(tf.float32),
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
            "texts": [text.decode() for text in row["texts"].numpy()],
        }


def check_source(records: Records, options: ImageOptions) -> None:
    """Raises `InputError` when the records do not hold what `options.source` needs."""
    if options.source == "features" and feature_size(records) is None:
        raise InputError(
            f"{records.folder}: these image records hold no CNN features, which the alignment "
            "stages read; build them with --backbone, or train with image.source=pixels"
        )
    if options.source == "pixels" and not records.manifest["options"].get("store_pixels"):
        raise InputError(
            f"{records.folder}: these image records hold no pixels; build them with "
            "--store_pixels, or train with image.source=features"
        )


_IDENTITY = {"image_id": tf.io.FixedLenFeature([], tf.string)}


def _parser(options: ImageOptions | None, extra: dict[str, Any] | None = None) -> Any:
    features = {
        "concepts": tf.io.RaggedFeature(tf.int64),
        "concept_counts": tf.io.RaggedFeature(tf.int64),
        **(extra or {}),
    }
    if options is not None:
        name = "global_feature" if options.source == "features" else "image"
        features[name] = tf.io.FixedLenFeature([], tf.string)
    return lambda serialized: tf.io.parse_example(serialized, features)


def _assemble(
    rows: batching.Rows,
    concept_options: concepts.ConceptOptions,
    image_options: ImageOptions,
    order: Literal["shuffled", "kept"],
    feature_dtype: str,
) -> batching.Batch:
    key = rows.get("key")
    words, lengths = concepts.assemble(
        rows["concepts"], rows["concept_counts"], concept_options, key=key, order=order
    )
    inputs = {"concepts": words, "concept_lengths": lengths}
    if image_options.source == "features":
        feature = tf.io.decode_raw(rows["global_feature"], feature_dtype)
        return {**inputs, "features": tf.cast(feature, tf.float32)}
    if key is None:
        return {**inputs, "image": rows["image"]}
    seeds = pixels.crop_seeds(key, rows["image"])
    return {**inputs, "image": rows["image"], "crop_seed": seeds}


def _finish(batch: batching.Batch, options: ImageOptions) -> batching.Batch:
    """Decodes and crops the images: the costly part, done for one's own rows only."""
    if options.source == "features":
        return batch
    encoded, seeds = batch.pop("image"), batch.pop("crop_seed", None)
    # Upstream's input: squashed without anti-aliasing.
    sizes = pixels.PixelOptions(resize=options.resize, crop=options.crop, antialias=False)
    return {**batch, "pixels": pixels.crops(encoded, sizes, seeds)}
