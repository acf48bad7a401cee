"""Batches of images with several of their captions, from `captions` records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import tensorflow as tf

from pipelines import batching, captions
from pipelines.pixels import PixelOptions, crop_seeds, crops
from tfrecords.errors import InputError
from tfrecords.records import Records
from tfrecords.vocabulary import END_ID

# Records carry feature maps: windows are small, and there is nothing to sort them by.
_WINDOW_BATCHES = 8
# Member of what a batch's key seeds.
_DRAWS = -1
FeatureKind = Literal["global_feature", "grid_feature", "region_feature"]
FEATURES = get_args(FeatureKind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """What of the records a captioner is shown.

    Attributes:
        captions_per_image: S; of an image with fewer some come twice, of one with more a run of
            neighbours is drawn.
        max_length: words of a sentence, the end marker included; longer ones are cut and ended.
        features: the kinds of features in a batch.
        unit_norm: divides the rows of grids and regions by their L2 norm.
        pixels: decodes the stored images, for a network in the model; None leaves them alone.
    """

    captions_per_image: int = 5
    max_length: int = 17
    features: tuple[FeatureKind, ...] = ("grid_feature",)
    unit_norm: bool = False
    pixels: PixelOptions | None = None

    def __post_init__(self) -> None:
        """Refuses sizes below one and unknown features."""
        for name in ("captions_per_image", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if unknown := [kind for kind in self.features if kind not in FEATURES]:
            raise ValueError(f"unknown features {unknown[0]!r}; known: {', '.join(FEATURES)}")
        if {"grid_feature", "region_feature"} <= set(self.features):
            raise ValueError("a batch has grids or regions, not both")


def training_batches(
    records: Records,
    options: CaptionOptions,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    draws: Callable[[tf.Tensor], tf.Tensor | None] | None = None,
    with_references: bool = False,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
) -> tf.data.Dataset:
    """Endless training batches from batch number `first_step` on.

    Args:
        records: of kind `captions`.
        options: what of them.
        batch_size: images a batch (the last of an epoch has fewer).
        seed: of the run.
        first_step: number of the first batch.
        draws: gives the shape, B first, of what is drawn for the batch with given `tokens`: adds
            `draws` float32, uniform in 0..1. None, or giving None, draws nothing.
        with_references: adds all captions of each image, for rewards.
        own_rows: which rows of a batch this process computes, of several that train together.

    Returns:
        Batches of `tokens` int32[B, S, T + 1] (from start to end marker, 0-padded on the right),
        `lengths` int32[B, S] (words to predict, 1..T), and of what was asked for `global`
        float32[B, D], `regions` float32[B, L, D], with `region_lengths` int32[B] where L varies,
        `pixels` float32[B, crop, crop, 3] in 0..255, `draws`, and `references` int32[B, R, T']
        (without the start marker) with `reference_lengths` int32[B, R], 0 where an image has
        fewer than R.
    """
    check_features(records, options)

    def assemble(rows: batching.Rows) -> batching.Batch:
        batch = {**inputs(rows, options), **_sentences(rows, options, rows["key"])}
        if options.pixels is not None:
            batch["crop_seed"] = crop_seeds(rows["key"], rows["image"])
        if with_references:
            batch.update(_references(rows, options))
        shape = draws(batch["tokens"]) if draws is not None else None
        if shape is not None:
            seed = tf.random.experimental.stateless_fold_in(rows["key"], _DRAWS)
            batch["draws"] = tf.random.stateless_uniform(shape, seed)
        return batch

    return batching.training_batches(
        records,
        captions.parser(records, ("sentences", *_columns(options))),
        assemble,
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        window_batches=_WINDOW_BATCHES,
        # Decoding is costly, and done for one's own rows only.
        finish=lambda batch: _decoded(own_rows(batch), options),
    )


def validation_batches(
    records: Records, split: str, options: CaptionOptions, *, batch_size: int
) -> tf.data.Dataset:
    """All images of a split once, in order, as `training_batches`, with their first S captions."""
    check_features(records, options)
    return batching.ordered_batches(
        records,
        split,
        captions.parser(records, ("sentences", *_columns(options))),
        lambda rows: {
            **_decoded(inputs(rows, options), options),
            **_sentences(rows, options, None),
        },
        batch_size=batch_size,
    )


def image_batches(
    records: Records, split: str, options: CaptionOptions, *, batch_size: int
) -> tf.data.Dataset:
    """All images of a split once, in order: `image_id` string[B] and the features, no captions."""
    check_features(records, options)
    return batching.ordered_batches(
        records,
        split,
        captions.parser(records, ("image_id", *_columns(options))),
        lambda rows: {
            "image_id": rows["image_id"],
            **_decoded(inputs(rows, options), options),
        },
        batch_size=batch_size,
    )


def check_features(records: Records, options: CaptionOptions) -> None:
    """Raises `InputError` when the records do not hold what `options` asks for."""
    missing = [kind for kind in options.features if kind not in records.feature_names]
    if missing:
        held = [kind for kind in FEATURES if kind in records.feature_names]
        raise InputError(
            f"{records.folder}: these records have no {missing[0]}, only "
            f"{', '.join(held) or 'captions'}; build them with --backbone (and --store_grid) or "
            "with --features"
        )
    if options.pixels is not None and "image" not in records.feature_names:
        raise InputError(
            f"{records.folder}: these records hold no pictures, which image.source=pixels needs; "
            "build them with --images and without --nostore_pixels"
        )


def inputs(rows: batching.Rows, options: CaptionOptions) -> dict[str, tf.Tensor]:
    """What a captioner's `encode` takes of parsed records."""
    found: dict[str, tf.Tensor] = {}
    if "global_feature" in options.features:
        found["global"] = rows["global_feature"]
    if "grid_feature" in options.features:
        grid = rows["grid_feature"]
        _, height, width, size = grid.shape
        found["regions"] = tf.reshape(grid, [-1, height * width, size])
    if "region_feature" in options.features:
        regions = rows["region_feature"]
        found["regions"] = regions.to_tensor()
        found["region_lengths"] = tf.cast(regions.row_lengths(), tf.int32)
    if options.unit_norm and "regions" in found:
        norm = tf.norm(found["regions"], axis=-1, keepdims=True)
        found["regions"] = tf.math.divide_no_nan(found["regions"], norm)
    if options.pixels is not None:
        found["image"] = rows["image"]
    return found


def _columns(options: CaptionOptions) -> tuple[str, ...]:
    return (*options.features, "image") if options.pixels is not None else options.features


def _decoded(batch: batching.Batch, options: CaptionOptions) -> batching.Batch:
    if options.pixels is None:
        return batch
    encoded, seeds = batch.pop("image"), batch.pop("crop_seed", None)
    return {**batch, "pixels": crops(encoded, options.pixels, seeds)}


def _sentences(
    rows: batching.Rows, options: CaptionOptions, key: tf.Tensor | None
) -> dict[str, tf.Tensor]:
    sentences, wanted = rows["sentences"], options.captions_per_image
    there = tf.cast(sentences.row_lengths(), tf.int32)
    chosen = _choice(there, wanted, key)
    # In one list of all sentences: gathering rows of ragged rows is much slower.
    flat = sentences.values
    first = tf.cast(sentences.row_starts(), tf.int32)
    taken = tf.gather(flat, tf.reshape(first[:, None] + chosen, [-1]))
    tokens, lengths = _cut(taken, options.max_length)
    shape = tf.stack([tf.size(there), wanted, tf.shape(tokens)[1]])
    return {
        "tokens": tf.ensure_shape(tf.reshape(tokens, shape), [None, wanted, None]),
        "lengths": tf.reshape(lengths, [-1, wanted]),
    }


def _cut(sentences: tf.RaggedTensor, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """At most `max_length` words of each, start marker not counted, the last of them the end.

    Returns:
        Tokens int32[N, T + 1] and lengths int32[N], 1..T.
    """
    taken = tf.cast(sentences, tf.int32)[:, : max_length + 1]
    lengths = tf.cast(taken.row_lengths(), tf.int32) - 1
    tokens = taken.to_tensor(shape=tf.stack([-1, tf.reduce_max(lengths) + 1]))
    # Also those that were cut before it.
    ends = tf.range(tf.shape(tokens)[1])[None] == lengths[:, None]
    return tf.where(ends, END_ID, tokens), lengths


def _references(rows: batching.Rows, options: CaptionOptions) -> dict[str, tf.Tensor]:
    """All captions of each image, cut as those that are learnt from."""
    sentences = rows["sentences"]
    tokens, lengths = _cut(sentences.values, options.max_length)
    by_image = partial(tf.RaggedTensor.from_row_splits, row_splits=sentences.row_splits)
    return {
        "references": by_image(tokens[:, 1:]).to_tensor(),
        "reference_lengths": by_image(lengths).to_tensor(),
    }


def _choice(there: tf.Tensor, wanted: int, key: tf.Tensor | None) -> tf.Tensor:
    """Which captions of images that have `there` int32[B] of them: int32[B, wanted]."""
    places = tf.range(wanted)[None]
    if key is None:
        return places % there[:, None]
    shape = tf.stack([tf.size(there), wanted])
    draws = tf.random.stateless_uniform(shape, key)
    counts = tf.cast(there[:, None], tf.float32)
    repeated = tf.cast(draws * counts, tf.int32)
    latest = tf.cast(tf.maximum(there - wanted, 0)[:, None] + 1, tf.float32)
    window = tf.cast(draws[:, :1] * latest, tf.int32) + places
    return tf.where(there[:, None] >= wanted, window, repeated)
