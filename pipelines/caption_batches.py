"""Batches of images with several of their captions, from `captions` records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Protocol

import tensorflow as tf

from pipelines import batching, captions
from pipelines.inputs.spec import InputSpec
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import END_ID

# Records contain feature maps, so windows are small; rows are not sorted.
_WINDOW_BATCHES = 8
# Folded into a batch's key, so that these draws differ from others with the same key.
_DRAWS = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """Captions of an image in a batch.

    Attributes:
        captions_per_image: S; the captions of an image with fewer are repeated, and a run of
            consecutive ones is drawn from an image with more.
        max_length: maximum number of words of a sentence, end marker included; longer ones are
            truncated.
    """

    captions_per_image: int = 5
    max_length: int = 17

    def __post_init__(self) -> None:
        """Raises `ValueError` for sizes below one."""
        for name in ("captions_per_image", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")


class MoreTensors(Protocol):
    """Tensors of a batch in addition to its captions and the inputs of the captioner.

    Attributes:
        columns: columns of the records that they are made from.
    """

    columns: tuple[str, ...]

    def __call__(self, rows: batching.Rows) -> batching.Batch:
        """Returns the tensors of parsed rows, images first."""


def training_batches(
    records: Records,
    inputs: InputSpec,
    options: CaptionOptions,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    draws: Callable[[tf.Tensor], tf.Tensor | None] | None = None,
    with_references: bool = False,
    more: MoreTensors | None = None,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
    views: bool = True,
) -> tf.data.Dataset:
    """Returns infinitely many training batches from batch number `first_step` on.

    Args:
        records: records of kind `captions`.
        inputs: inputs of the captioner.
        options: number and length of captions.
        batch_size: images per batch (the last of an epoch has fewer).
        seed: seed of the run.
        first_step: number of the first batch.
        draws: returns the shape, B first, of random numbers for a batch with given `tokens`, which
            are added as `draws` float32, uniform in 0..1. None, or a result None, draws nothing.
        with_references: whether to add all captions of each image, for rewards.
        more: adds further tensors.
        own_rows: rows of a batch that this process computes, of several that train together.
        views: whether to draw one of the stored views of each image, see `draw_views`.

    Returns:
        Batches of `tokens` int32[B, S, T + 1] (from start to end marker, 0-padded on the right),
        `lengths` int32[B, S] (words to predict, 1..T), the tensors of `inputs` and, if requested,
        `draws`, and `references` int32[B, R, T'] (without the start marker) with
        `reference_lengths` int32[B, R], 0 if an image has fewer than R.
    """
    inputs.check(records)
    columns = ("sentences", *inputs.columns, *(more.columns if more is not None else ()))

    def assemble(rows: batching.Rows) -> batching.Batch:
        batch = {**inputs.assemble(rows), **_sentences(rows, options, rows["key"])}
        if with_references:
            batch.update(cut_references(rows["sentences"], options))
        if more is not None:
            batch.update(more(rows))
        shape = draws(batch["tokens"]) if draws is not None else None
        if shape is not None:
            seed = tf.random.experimental.stateless_fold_in(rows["key"], _DRAWS)
            batch["draws"] = tf.random.stateless_uniform(shape, seed)
        return batch

    return batching.training_batches(
        records,
        captions.parser(records, columns, views=views),
        assemble,
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        window_batches=_WINDOW_BATCHES,
        # Decoding is expensive, and only done for the rows of this process.
        finish=lambda batch: inputs.finish(own_rows(batch)),
    )


def validation_batches(
    records: Records, split: str, inputs: InputSpec, options: CaptionOptions, *, batch_size: int
) -> tf.data.Dataset:
    """Returns all images of a split once, in order, with their first S captions."""
    inputs.check(records)
    return batching.ordered_batches(
        records,
        split,
        captions.parser(records, ("sentences", *inputs.columns)),
        lambda rows: {
            **inputs.finish(inputs.assemble(rows)),
            **_sentences(rows, options, None),
        },
        batch_size=batch_size,
    )


def image_batches(
    records: Records, split: str, inputs: InputSpec, *, batch_size: int
) -> tf.data.Dataset:
    """Returns all images of a split once, in order: `image_id` string[B] and `inputs`."""
    inputs.check(records)
    return batching.ordered_batches(
        records,
        split,
        captions.parser(records, ("image_id", *inputs.columns)),
        lambda rows: {
            "image_id": rows["image_id"],
            **inputs.finish(inputs.assemble(rows)),
        },
        batch_size=batch_size,
    )


def image_signature(records: Records, split: str, inputs: InputSpec) -> dict[str, tf.TensorSpec]:
    """Returns the signature of the inputs of images of a split."""
    batches = image_batches(records, split, inputs, batch_size=1)
    return {name: spec for name, spec in batches.element_spec.items() if name != "image_id"}


def _sentences(
    rows: batching.Rows, options: CaptionOptions, key: tf.Tensor | None
) -> dict[str, tf.Tensor]:
    wanted = options.captions_per_image
    sentences = rows["sentences"]
    taken = choose_captions(sentences, caption_numbers(sentences, wanted, key))
    tokens, lengths = cut_sentences(taken, options.max_length)
    shape = tf.stack([rows["sentences"].nrows(), wanted, tf.shape(tokens)[1]])
    return {
        "tokens": tf.ensure_shape(tf.reshape(tokens, shape), [None, wanted, None]),
        "lengths": tf.reshape(lengths, [-1, wanted]),
    }


def caption_numbers(sentences: tf.RaggedTensor, wanted: int, key: tf.Tensor | None) -> tf.Tensor:
    """Returns the numbers int32[B, wanted] of the chosen captions of each image.

    Args:
        sentences: all captions, int64[B, (R), (T)].
        wanted: number per image; the captions of an image with fewer are repeated.
        key: stateless seed int64[2] of the choice; None selects the first ones.
    """
    return _choice(tf.cast(sentences.row_lengths(), tf.int32), wanted, key)


def choose_captions(sentences: tf.RaggedTensor, numbers: tf.Tensor) -> tf.RaggedTensor:
    """Chooses captions of each image: int64[B, (R), (T)] -> int64[B * S, (T)].

    Args:
        sentences: all captions.
        numbers: int32[B, S], numbers of the chosen captions of each image.
    """
    # Gathered from one list of all sentences, because gathering from nested ragged rows is much
    # slower.
    first = tf.cast(sentences.row_starts(), tf.int32)
    return tf.gather(sentences.values, tf.reshape(first[:, None] + numbers, [-1]))


def cut_sentences(sentences: tf.RaggedTensor, max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Truncates sentences to a number of words, without start marker, with the end marker.

    Args:
        sentences: int[N, (T)], start and end marker included.
        max_length: maximum number of words.

    Returns:
        Tokens int32[N, T + 1] and lengths int32[N], 1..T.
    """
    taken = tf.cast(sentences, tf.int32)[:, : max_length + 1]
    lengths = tf.cast(taken.row_lengths(), tf.int32) - 1
    tokens = taken.to_tensor(shape=tf.stack([-1, tf.reduce_max(lengths) + 1]))
    # Also for truncated sentences.
    ends = tf.range(tf.shape(tokens)[1])[None] == lengths[:, None]
    return tf.where(ends, END_ID, tokens), lengths


def cut_references(sentences: tf.RaggedTensor, options: CaptionOptions) -> dict[str, tf.Tensor]:
    """Truncates all captions of each image to the length of the training captions.

    Args:
        sentences: int64[B, (R), (T)], start and end marker included.
        options: their length.

    Returns:
        `references` int32[B, R, T], without the start marker, and `reference_lengths` int32[B, R],
        0 where an image has fewer than R.
    """
    tokens, lengths = cut_sentences(sentences.values, options.max_length)
    by_image = partial(tf.RaggedTensor.from_row_splits, row_splits=sentences.row_splits)
    return {
        "references": by_image(tokens[:, 1:]).to_tensor(),
        "reference_lengths": by_image(lengths).to_tensor(),
    }


def _choice(there: tf.Tensor, wanted: int, key: tf.Tensor | None) -> tf.Tensor:
    """Returns indices of `wanted` captions of images with `there` int32[B]: int32[B, wanted]."""
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
