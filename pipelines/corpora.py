"""Batches of sentences with their concepts, from `corpora` records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from pipelines import batching
from pipelines.inputs.concept_noise import ConceptNoise
from pipelines.inputs.concepts import Concepts, assemble_concepts
from pipelines.matched_sentences import MatchedSentences
from tfrecords.core.records import Records, open_records

_WINDOW_BATCHES = 64
# Uses of a batch's seed for changing words; other uses split it.
_HIDDEN_WORDS, _OWN_WORDS = 1, 2
_LENGTH_STEP = 4  # multiple of the lengths of batches with few shapes

_FEATURES = {
    "sentence": tf.io.RaggedFeature(tf.int64),
    "concepts": tf.io.RaggedFeature(tf.int64),
    "concept_counts": tf.io.RaggedFeature(tf.int64),
}


def training_batches(
    records: Records,
    *,
    batch_size: int,
    max_length: int,
    seed: int,
    first_step: int = 0,
    concepts: Concepts,
    own_rows: Callable[[batching.Batch], batching.Batch] = batching.unchanged,
    few_shapes: bool = False,
    noise: ConceptNoise | None = None,
    word_dropout: float = 0.0,
    scheduled_sampling: float = 0.0,
    matched: MatchedSentences | None = None,
) -> tf.data.Dataset:
    """Returns infinitely many training batches from batch number `first_step` on.

    Args:
        records: records of kind `corpora`.
        batch_size: sentences per batch (the last of an epoch has fewer).
        max_length: maximum number of words of a sentence, end marker included; longer ones are
            truncated.
        seed: seed of the run.
        first_step: number of the first batch.
        concepts: concepts that the encoder reads, in random order.
        own_rows: rows of a batch that this process computes, of several that train together.
        few_shapes: whether T is a multiple of four (but at most `max_length`) and K is constant,
            for XLA, which compiles a program per shape.
        noise: missed and false concepts.
        word_dropout: probability that a word is hidden when the next one is predicted.
        scheduled_sampling: probability that the decoder reads its own prediction of a word instead.
        matched: the sentences of the records with weights, by which an epoch draws them. None: an
            epoch contains each sentence once.

    Returns:
        Batches of `concepts` int32[B, K], `concept_lengths` int32[B], `tokens` int32[B, T + 1]
        (from start to end marker, 0-padded on the right), `lengths` int32[B] (words to predict,
        1..T), where sentences of similar length share a batch. With noise also `exact_concepts`
        and `exact_concept_lengths`, without noise. With word dropout also `previous` int32[B, T],
        the words before those to predict, with hidden ones replaced by `<unk>`. With scheduled
        sampling also `own_words` bool[B, T], the positions where the decoder reads its own word.
    """
    unknown = records.vocabulary().unk_id
    return batching.training_batches(
        records,
        lambda lines, _: _parse(lines) if matched is None else matched.rows(lines),
        lambda rows: _with_changed_words(
            _assemble(rows, max_length, concepts, "shuffled", few_shapes, noise),
            rows["key"],
            word_dropout,
            scheduled_sampling,
            unknown,
        ),
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        window_batches=_WINDOW_BATCHES,
        length_of=lambda rows: rows["sentence"].row_lengths(),
        finish=own_rows,
        elements=None if matched is None else (matched.epoch, matched.count),
    )


def validation_batches(
    records: Records,
    *,
    batch_size: int,
    max_length: int,
    concepts: Concepts,
    split: str = "val",
) -> tf.data.Dataset:
    """Returns all sentences of a split once, concepts in the order of mention."""
    return batching.ordered_batches(
        records,
        split,
        _parse,
        lambda rows: _assemble(rows, max_length, concepts, "kept"),
        batch_size=batch_size,
    )


def open_corpora(folder: str) -> Records:
    """Opens `corpora` records; raises `InputError` for anything else."""
    return open_records(folder, kind="corpora")


def _parse(serialized: tf.Tensor) -> batching.Rows:
    return tf.io.parse_example(serialized, _FEATURES)


def _with_changed_words(
    batch: batching.Batch, key: tf.Tensor, dropout: float, sampling: float, unknown: int
) -> batching.Batch:
    """Adds `previous` and `own_words` to a batch, see `training_batches`."""
    previous = batch["tokens"][:, :-1]
    # The start marker is never changed.
    later = tf.range(tf.shape(previous)[1]) > 0

    def drawn(rate: float, use: int) -> tf.Tensor:
        seed = batching.fold_in(key, use)
        return later & (tf.random.stateless_uniform(tf.shape(previous), seed=seed) < rate)

    if dropout:
        hidden = drawn(dropout, _HIDDEN_WORDS)
        batch = {**batch, "previous": tf.where(hidden, unknown, previous)}
    if sampling:
        batch = {**batch, "own_words": drawn(sampling, _OWN_WORDS)}
    return batch


def _assemble(
    batch: batching.Rows,
    max_length: int,
    concepts: Concepts,
    order: Literal["shuffled", "kept"],
    few_shapes: bool = False,
    noise: ConceptNoise | None = None,
) -> dict[str, tf.Tensor]:
    sentence = tf.cast(batch["sentence"], tf.int32)[:, : max_length + 1]
    lengths = tf.cast(sentence.row_lengths(), tf.int32) - 1
    longest = batching.round_up(
        tf.reduce_max(lengths), _LENGTH_STEP if few_shapes else 1, max_length
    )
    key = batch.get("key")
    exact = assemble_concepts(
        batch["concepts"],
        batch["concept_counts"],
        concepts,
        key=key,
        order=order,
        all_columns=few_shapes,
    )
    read, more = exact, {}
    if noise is not None:
        assert key is not None
        read = assemble_concepts(
            *noise.add(batch["concepts"], batch["concept_counts"], key),
            concepts,
            key=key,
            order=order,
            all_columns=few_shapes,
        )
        more = {"exact_concepts": exact[0], "exact_concept_lengths": exact[1]}
    return {
        "concepts": read[0],
        "concept_lengths": read[1],
        **more,
        "tokens": sentence.to_tensor(shape=tf.stack([-1, longest + 1])),
        "lengths": lengths,
    }
