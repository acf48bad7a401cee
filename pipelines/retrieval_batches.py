"""Batches of pairs of images and captions, from `captions` records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import tensorflow as tf

from pipelines import batching, captions
from pipelines.caption_batches import caption_numbers, choose_captions, cut_sentences
from pipelines.inputs.spec import InputSpec
from pipelines.pairs import PairCounts, image_stream, owners, pair_stream
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import END_ID, START_ID

# Records contain feature maps, so windows are small.
_WINDOW_BATCHES = 8
# Folded into a batch's key, so that these draws differ from others with the same key.
_NOISE = -3
# Cumulative shares of the words that are chosen for noise: masked; masked or replaced. The others
# are removed.
_MASKED, _CHANGED = 0.5, 0.6
# First word id after those of the markers.
_FIRST_WORD = 3

Batching = Literal["shuffled", "same_length"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Options of the sentences of pairs and of their batching.

    Attributes:
        batching: `shuffled`, or `same_length`: all captions of a batch have the same number of
            words (Kiros et al. 2014), so that length does not distinguish negatives. The last
            batches of an epoch are then small.
        captions_per_image: S; above 1, a batch contains images with S captions each, and an epoch
            contains every image once. The captions of an image with fewer are repeated.
        max_length: maximum number of words of a sentence, end marker included; longer ones are
            truncated and end with the end marker.
        start_marker: whether sentences begin with the start marker.
        word_noise: fraction of the words that are masked (50 %), replaced (10 %) or removed (40 %)
            in training (Chen et al. 2021).
    """

    batching: Batching = "shuffled"
    captions_per_image: int = 1
    max_length: int = 100
    start_marker: bool = True
    word_noise: float = 0.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for values that are unknown, out of range or contradictory."""
        if self.batching not in ("shuffled", "same_length"):
            raise ValueError(f"unknown batching {self.batching!r}; known: shuffled, same_length")
        for name in ("captions_per_image", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.captions_per_image > 1 and self.batching == "same_length":
            raise ValueError(
                f"captions_per_image must be 1 for batching same_length, found "
                f"{self.captions_per_image}: the captions of an image differ in length"
            )
        if not 0 <= self.word_noise < 1:
            raise ValueError(f"word_noise must be at least 0 and below 1, found {self.word_noise}")


def batches_per_epoch(counts: PairCounts, options: PairOptions, batch_size: int) -> int:
    """Returns the number of batches per epoch; see `PairOptions`."""
    if options.captions_per_image > 1:
        return batching.batches_per_epoch(counts.images, batch_size // options.captions_per_image)
    if options.batching == "shuffled":
        return batching.batches_per_epoch(counts.pairs, batch_size)
    return sum(batching.batches_per_epoch(count, batch_size) for count in counts.by_length.values())


@tf.autograph.experimental.do_not_convert
def training_batches(
    records: Records,
    inputs: InputSpec,
    options: PairOptions,
    counts: PairCounts,
    *,
    vocabulary_size: int,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
    views: bool = True,
    more: Callable[[tf.Tensor, tf.Tensor], batching.Batch] | None = None,
) -> tf.data.Dataset:
    """Returns infinitely many training batches, from batch number `first_step` on.

    Args:
        records: records of kind `captions`.
        inputs: inputs of the image encoder.
        options: sentences and batching.
        counts: counts of split `train`.
        vocabulary_size: V; the last word, `<unk>`, is the mask of `word_noise`.
        batch_size: pairs per batch; a multiple of `captions_per_image`.
        seed: seed of the run.
        first_step: number of the first batch.
        own_rows: selects the rows of a batch that this process computes, if several processes
            train together.
        views: whether to draw one of the stored views of each image; see `draw_views`.
        more: computes further tensors from the names of the images, string[B], and the numbers of
            their captions, int32[B, S].

    Returns:
        Batches of `tokens` int32[B, T] (0-padded on the right), `lengths` int32[B], `owners`
        int32[B] (hashes of the image names: equal for pairs of one image), and the tensors of
        `inputs`. With S > 1 captions per image: `tokens` int32[B, S, T] and `lengths` int32[B, S]
        of B images.
    """
    inputs.check(records)
    columns = ("image_id", "sentences", *inputs.columns)
    parse_lines = captions.parser(records, columns, views=views)

    def parse(pairs: batching.Rows, key: tf.Tensor) -> batching.Rows:
        return {**parse_lines(pairs["line"], key), "caption": pairs["caption"]}

    def assemble(rows: batching.Rows) -> batching.Batch:
        several = options.captions_per_image
        numbers = (
            tf.cast(rows["caption"], tf.int32)[:, tf.newaxis]
            if several == 1
            else caption_numbers(rows["sentences"], several, rows["key"])
        )
        return {
            **_sentences(rows, numbers, options, vocabulary_size),
            "owners": owners(rows["image_id"]),
            **inputs.assemble(rows),
            **({} if more is None else more(rows["image_id"], numbers)),
        }

    def finish(batch: batching.Batch) -> batching.Batch:
        # Decoding is expensive, so only the rows of this process are decoded.
        return inputs.finish(own_rows(batch))

    settings = {"seed": seed, "first_step": first_step, "window_batches": _WINDOW_BATCHES}
    if options.captions_per_image > 1:
        return batching.training_batches(
            records,
            parse_lines,
            assemble,
            batch_size=batch_size // options.captions_per_image,
            finish=finish,
            elements=(partial(image_stream, records, counts), counts.images),
            **settings,
        )
    elements = partial(pair_stream, records, counts)
    if options.batching == "shuffled":
        return batching.training_batches(
            records,
            parse,
            assemble,
            batch_size=batch_size,
            finish=finish,
            elements=(elements, counts.pairs),
            **settings,
        )

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        key = batching.epoch_key(seed, number)
        groups = elements(key).group_by_window(
            lambda pair: pair["length"], lambda _, own: own.batch(batch_size), batch_size
        )
        return groups.enumerate().map(lambda index, pairs: (batching.fold_in(key, index), pairs))

    def batch(key: tf.Tensor, pairs: batching.Rows) -> batching.Batch:
        return finish(assemble({**parse(pairs, key), "key": key}))

    first_epoch, offset = divmod(first_step, batches_per_epoch(counts, options, batch_size))
    found = tf.data.Dataset.counter(first_epoch).flat_map(epoch).skip(offset)
    return found.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def pad_sentences(sentences: tf.RaggedTensor, options: PairOptions) -> tuple[tf.Tensor, tf.Tensor]:
    """Truncates and pads sentences for a sentence encoder.

    Args:
        sentences: int[N, (T)], start and end marker included.
        options: `max_length` and `start_marker` are read.

    Returns:
        Tokens int32[N, T] and lengths int32[N], at least 1.
    """
    tokens, lengths = cut_sentences(sentences, options.max_length)
    return (tokens, lengths + 1) if options.start_marker else (tokens[:, 1:], lengths)


def _sentences(
    rows: batching.Rows, numbers: tf.Tensor, options: PairOptions, vocabulary_size: int
) -> dict[str, tf.Tensor]:
    """Returns `tokens` and `lengths` of captions `numbers` int32[B, S] of B parsed rows."""
    several = options.captions_per_image
    chosen = choose_captions(rows["sentences"], numbers)
    if options.word_noise:
        key = batching.fold_in(rows["key"], _NOISE)
        chosen = add_word_noise(chosen, options.word_noise, vocabulary_size, key)
    tokens, lengths = pad_sentences(chosen, options)
    if several > 1:
        tokens = tf.reshape(tokens, [-1, several, tf.shape(tokens)[1]])
        lengths = tf.reshape(lengths, [-1, several])
    return {"tokens": tokens, "lengths": lengths}


def add_word_noise(
    sentences: tf.RaggedTensor, rate: float, vocabulary_size: int, key: tf.Tensor
) -> tf.RaggedTensor:
    """Masks, replaces or removes words at random; start and end markers are kept.

    Args:
        sentences: int64[N, (T)].
        rate: probability that a word is masked, replaced or removed.
        vocabulary_size: V; `<unk>`, the last word, is the mask.
        key: stateless seed int64[2].

    Returns:
        int64[N, (T')].
    """
    words = sentences.values
    seeds = tf.random.experimental.stateless_split(key, 2)
    draws = tf.random.stateless_uniform([tf.size(words), 2], seeds[0])
    reached = (draws[:, 0] < rate) & (words != START_ID) & (words != END_ID)
    others = tf.random.stateless_uniform(
        [tf.size(words)], seeds[1], _FIRST_WORD, vocabulary_size - 1, tf.int64
    )
    kind = draws[:, 1]
    changed = tf.where(kind < _MASKED, tf.cast(vocabulary_size - 1, tf.int64), others)
    found = sentences.with_values(tf.where(reached, changed, words))
    return tf.ragged.boolean_mask(found, sentences.with_values(~reached | (kind < _CHANGED)))
