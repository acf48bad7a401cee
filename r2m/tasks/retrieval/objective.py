"""Ranking objective of visual-semantic embeddings, with detection of its collapse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import tensorflow as tf

from losses.distillation import distilled_ranking
from losses.ranking import Hinges, RankingLoss, hinge_ranking, softmax_ranking
from losses.similarities import Similarity
from r2m.engine.stage import LossTerm
from r2m.tasks.global_ranking import global_ranking, replicas

# Tolerances of the collapse test. All vectors are nearly equal if the mean term of the loss is
# close to that of equal similarities (relative to it), and if the similarities of pairs and
# negatives are close to each other (relative to the margin or temperature). The mean term alone may
# match by chance.
_TERM_TOLERANCE, _SIMILARITY_TOLERANCE = 0.01, 0.05
# Consecutive log intervals before a warning: an untrained model also has nearly equal vectors.
_COLLAPSE_INTERVALS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankingOptions:
    """Options of the ranking loss; see `configs.retrieval_sections.loss`.

    Attributes:
        name: `hinges` or `softmax`.
        margin: margin by which the similarity of a pair must exceed that of its negatives.
        hinges: `sum` or `max`.
        sum_epochs: epochs with `sum` before `max`.
        temperature: temperature of the softmax.
        mask_same_image: whether sentences of the same image are excluded from the negatives.
        similarity: `cosine` or `order`.
        batch_size: maximum number of pairs of a global batch.
        frozen_epochs: epochs before the network of a model of pixels is trained.
        teacher_weight: share of the cross entropy with the teacher's probabilities; 0 without one.
        teacher_temperature: temperature of these probabilities.
    """

    name: Literal["hinges", "softmax"] = "hinges"
    margin: float = 0.2
    hinges: Hinges = "sum"
    sum_epochs: int = 0
    temperature: float = 0.05
    mask_same_image: bool = False
    similarity: Similarity = "cosine"
    batch_size: int
    frozen_epochs: int = 0
    teacher_weight: float = 0.0
    teacher_temperature: float = 0.05

    def __post_init__(self) -> None:
        """Raises `ValueError` for invalid options."""
        if self.name not in ("hinges", "softmax"):
            raise ValueError(f"loss {self.name!r} is not known; known: hinges, softmax")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, found {self.temperature}")
        if not 0 < self.margin < 2:
            raise ValueError(f"margin must be between 0 and 2, found {self.margin}")
        if self.hinges not in ("sum", "max"):
            raise ValueError(f"hinges {self.hinges!r} is not known; known: sum, max")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2, found {self.batch_size}: the negatives of a pair "
                "are the other pairs of its batch"
            )


class RankingObjective:
    """Ranking of pairs of images and sentences against the rest of the batch."""

    def __init__(self, options: RankingOptions) -> None:
        """Stores the options."""
        self._options = options
        self._collapsed = 0  # consecutive log intervals

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the epoch-dependent scalars to add to the batches of an epoch int64[]."""
        options = self._options
        found = {}
        if options.name == "hinges":
            is_max = tf.constant(options.hinges == "max")
            found["hardest"] = is_max & (epoch >= options.sum_epochs)
        if options.frozen_epochs:
            found["network_trains"] = epoch >= options.frozen_epochs
        return found

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Returns the terms of a replica's pairs.

        `ranking` is a sum over the global batch, as published, not a mean. `hinge` or `softmax` is
        its mean term, and `positive` and `negative` are the mean similarities of pairs and of
        negatives.
        """
        options = self._options
        images = model.encode_images(
            batch, training=training, network_trains=batch.get("network_trains")
        )
        tokens, lengths, owners = batch["tokens"], batch["lengths"], batch["owners"]
        if tokens.shape.rank == 3:  # [B, S, T]: S captions of each image
            several = tokens.shape[1]
            images, owners = tf.repeat(images, several, axis=0), tf.repeat(owners, several)
            tokens = tf.reshape(tokens, [-1, tf.shape(tokens)[2]])
            lengths = tf.reshape(lengths, [-1])
        sentences = model.encode_sentences(tokens, lengths, training=training)
        size = sentences.shape[1]
        loss: Callable[..., RankingLoss]
        if options.name == "hinges":
            loss = partial(hinge_ranking, margin=options.margin, hinges=batch["hardest"])
        else:
            loss = partial(softmax_ranking, temperature=options.temperature)
        if options.teacher_weight:
            by_teacher, more = batch["teacher_images"], batch["teacher_sentences"]
            by_teacher = tf.repeat(by_teacher, tf.shape(more)[1], axis=0)
            more = tf.reshape(more, [-1, more.shape[2]])
            images = tf.concat([images, tf.cast(by_teacher, images.dtype)], axis=1)
            sentences = tf.concat([sentences, tf.cast(more, sentences.dtype)], axis=1)
            loss = partial(
                distilled_ranking,
                loss=loss,
                size=size,
                weight=options.teacher_weight,
                temperature=options.teacher_temperature,
            )
        found = global_ranking(
            loss,
            images,
            sentences,
            similarity=options.similarity,
            owners=owners if options.mask_same_image else None,
            most_rows=options.batch_size,
        )
        return {
            "ranking": LossTerm(found.total, tf.constant(1.0 / replicas())),
            self._term: LossTerm(found.total, found.terms, weight=0.0),
            "positive": LossTerm(found.positives, found.pairs, weight=0.0),
            "negative": LossTerm(found.negatives, found.others, weight=0.0),
        }

    @property
    def _term(self) -> str:
        """Name of the mean term in the metrics."""
        return "hinge" if self._options.name == "hinges" else "softmax"

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning if the vectors of several log intervals were nearly equal."""
        options = self._options
        if options.name == "hinges":
            scale = expected = options.margin
            level = 2 * options.batch_size * options.margin
            shown = f"2 * batch_size * margin = {level:g}"
            if not (options.hinges == "max" and not options.sum_epochs):
                shown += f" ({level * (options.batch_size - 1):g} for the sum of all hinges)"
        else:
            scale, expected = options.temperature, math.log(options.batch_size)
            shown = f"2 * batch_size * log(batch_size) = {2 * options.batch_size * expected:g}"
        term = abs(metrics[f"loss/{self._term}"] - expected) / expected
        similarity = abs(metrics["loss/positive"] - metrics["loss/negative"]) / scale
        collapsed = term < _TERM_TOLERANCE and similarity < _SIMILARITY_TOLERANCE
        self._collapsed = self._collapsed + 1 if collapsed else 0
        if self._collapsed != _COLLAPSE_INTERVALS:
            return None
        return (
            f"the embedding has collapsed: the loss stays near {shown}, its value for equal "
            f"vectors (mean similarity of pairs {metrics['loss/positive']:.3f}, of negatives "
            f"{metrics['loss/negative']:.3f}). If this persists, start again with "
            "--config.loss.name=softmax, --config.loss.sum_epochs=1 or more, a smaller learning "
            "rate or a warm-up (--config.training.schedule.warm_up), a larger batch, or a network "
            "that stays frozen longer (--config.image.frozen_epochs)"
        )
