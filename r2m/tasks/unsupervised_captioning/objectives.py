"""Objectives of R2M's stages: loss terms of a batch of sentences or of images."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from losses import alignment, text
from losses.ranking import hinge_ranking
from models.decoding.search import DecodingOptions, decode
from models.r2m import R2M
from r2m.engine.stage import LossTerm
from r2m.tasks.global_ranking import global_ranking

Batch = dict[str, tf.Tensor]
Terms = dict[str, LossTerm]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """Weights and margins.

    Attributes:
        reconstruction_weight: w_im, factor of the reconstruction terms (upstream: 1).
        margin: margin of the triplet loss (upstream: 0.2).
        batch_size: maximum number of rows of a global batch.
    """

    reconstruction_weight: float = 1.0
    margin: float = 0.2
    batch_size: int


def sentence_terms(
    model: R2M, batch: Batch, training: bool, *, reconstruct: bool, options: ObjectiveOptions
) -> Terms:
    """Returns the losses of reconstructing sentences from concepts (stages 1 and 2).

    Args:
        model: the network.
        batch: a batch from `pipelines.corpora.training_batches`.
        training: whether dropout is active.
        reconstruct: whether to add the squared error between r and v.
        options: weights.

    Returns:
        `cross_entropy` (a mean over words) and, with `reconstruct`, `sentence_reconstruction`.
    """
    tokens, lengths = batch["tokens"], batch["lengths"]
    memory = model.encode(batch, training=training)
    previous = batch.get("previous", tokens[:, :-1])
    if "own_words" in batch:
        previous = _with_own_words(model, memory, previous, batch["own_words"])
    hidden = model.teacher_forced(memory, previous, training=training)
    terms = {
        "cross_entropy": LossTerm(
            *text.cross_entropy(hidden, *model.output_layer, tokens[:, 1:], lengths)
        )
    }
    if reconstruct:
        back = model.reconstruct(hidden, lengths)
        vector = memory["vector"]
        if "exact_concepts" in batch:
            exact = {name: batch[f"exact_{name}"] for name in ("concepts", "concept_lengths")}
            vector = model.encode(exact, training=training)["vector"]
        terms["sentence_reconstruction"] = LossTerm(
            *alignment.mean_square(back, vector), options.reconstruction_weight
        )
    return terms


def image_terms(
    model: R2M,
    batch: Batch,
    training: bool,
    *,
    reconstruct: bool,
    options: ObjectiveOptions,
    search: DecodingOptions,
) -> Terms:
    """Returns the losses of aligning images with generated captions (stages 3 and 4).

    The decoder is fed its own argmax words. They are found first, without gradient. The hidden
    states for these words are then recomputed for all steps at once, so that the gradient flows
    through h and v as in the step-by-step decoder.

    Args:
        model: the network.
        batch: `concepts`, `concept_lengths` and `global` float[B, F].
        training: whether dropout is on.
        reconstruct: adds the squared error between r and v.
        options: weights and margin.
        search: options of a greedy search, with the maximum length of captions.

    Returns:
        `triplet` (a mean over images) and, with `reconstruct`, `image_reconstruction`.
    """
    memory = model.encode(batch, training=training)
    fed, lengths = _generated_inputs(model, memory, search)
    back = model.reconstruct(model.teacher_forced(memory, fed, training=training), lengths)
    images = model.project_images(batch["global"])
    # Hardest negatives of the whole batch (Guo et al. 2020).
    found = global_ranking(
        hinge_ranking,
        images,
        back,
        margin=options.margin,
        hinges="max",
        most_rows=options.batch_size,
    )
    terms = {"triplet": LossTerm(found.total, found.pairs)}
    if reconstruct:
        terms["image_reconstruction"] = LossTerm(
            *alignment.mean_square(back, memory["vector"]), options.reconstruction_weight
        )
    return terms


def _with_own_words(
    model: R2M, memory: Any, previous: tf.Tensor, own_words: tf.Tensor
) -> tf.Tensor:
    """Replaces words by the model's predictions of them (scheduled sampling).

    All predictions follow the given words, so that one more pass computes them at once (Mihaylova
    and Martins 2019, arXiv 1906.07651).

    Args:
        model: the network.
        memory: from `encode`.
        previous: int32[B, T], words from the start marker on.
        own_words: bool[B, T], the words to replace; never the start marker.

    Returns:
        int32[B, T].
    """
    hidden = model.teacher_forced(memory, previous[:, :-1])
    predicted = tf.argmax(model.logits(hidden), -1, output_type=tf.int32)
    return tf.where(own_words, tf.concat([previous[:, :1], predicted], 1), previous)


def gate_values(model: R2M, batch: Batch, search: DecodingOptions) -> dict[str, tf.Tensor]:
    """Returns the activations of the decoder's gates at the real words of a batch.

    Args:
        model: the network.
        batch: sentences or images; with images the decoder is fed its own words.
        search: see `image_terms`.

    Returns:
        `input_gate` and `forget_gate` float[N, H] of N words; empty for a decoder without gates.
    """
    memory = model.encode(batch)
    if "tokens" in batch:
        fed, lengths = batch["tokens"][:, :-1], batch["lengths"]
    else:
        fed, lengths = _generated_inputs(model, memory, search)
    real = tf.sequence_mask(lengths, tf.shape(fed)[1])
    return {name: tf.boolean_mask(g, real) for name, g in model.gates(memory, fed).items()}


def _generated_inputs(
    model: R2M, memory: Any, search: DecodingOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns generated words as decoder inputs: int32[B, T], lengths int32[B]."""
    found = decode(model, memory, search)
    tokens = tf.stop_gradient(found.tokens[:, 0])
    # r is read at the step of the first end marker, or at the last step.
    lengths = tf.maximum(tf.stop_gradient(found.lengths[:, 0]), 1)
    start = tf.fill([tf.shape(tokens)[0], 1], search.start_id)
    return tf.concat([start, tokens[:, :-1]], axis=1), lengths
