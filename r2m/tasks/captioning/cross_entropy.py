"""Training by cross entropy: the next word of captions that people wrote."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import tensorflow as tf

from losses.caption_losses import caption_loss, kept_captions
from models.decoding.scheduled_sampling import sampled_inputs, sampling_probability
from r2m.engine.stage import LossTerm

Reduction = Literal["words", "captions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropyOptions:
    """Options of the cross entropy.

    Attributes:
        smoothing: label smoothing, as a share of the probability.
        reduction: normalizer of the sum: `words`, as in self-critical.pytorch, or `captions`, as in
            show and tell.
        drop_worst: share of the captions to leave out, those with the largest losses.
        drop_worst_after: first epoch in which captions are left out.
        sampling_start: first epoch of scheduled sampling; None for none.
        sampling_every: epochs between increases of the sampling probability.
        sampling_increase: size of each increase.
        sampling_most: largest sampling probability.
    """

    smoothing: float = 0.0
    reduction: Reduction = "words"
    drop_worst: float = 0.0
    drop_worst_after: int = 0
    sampling_start: int | None = None
    sampling_every: int = 5
    sampling_increase: float = 0.05
    sampling_most: float = 0.25

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        known = get_args(Reduction)
        if self.reduction not in known:
            raise ValueError(f"unknown reduction {self.reduction!r}; known: {', '.join(known)}")
        for name in ("smoothing", "drop_worst"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more and below 1")
        if not 0 <= self.sampling_most <= 1:
            raise ValueError(f"sampling_most={self.sampling_most} must be between 0 and 1")
        for name in ("drop_worst_after", "sampling_increase"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.sampling_start is not None and self.sampling_start < 0:
            raise ValueError(
                f"sampling_start={self.sampling_start} must not be negative; None is off"
            )
        if self.sampling_every < 1:
            raise ValueError(f"sampling_every={self.sampling_every} must be at least 1")

    @property
    def compares_rows(self) -> bool:
        """True if the loss of one caption depends on those of the others."""
        return self.drop_worst > 0


class CrossEntropy:
    """Cross entropy of reference captions (an `Objective` of `r2m.tasks.captioning.stage`)."""

    name = "cross_entropy"
    needs_references = False
    more = None

    def __init__(self, options: CrossEntropyOptions) -> None:
        """Stores the options."""
        self._options = options

    @property
    def compares_rows(self) -> bool:
        """True if the loss of one caption depends on those of the others."""
        return self._options.compares_rows

    def draws(self, tokens: tf.Tensor) -> tf.Tensor | None:
        """Returns the shape of two numbers per word for scheduled sampling: int32[4], or None."""
        if self._options.sampling_start is None:
            return None
        return tf.concat([tf.shape(tokens) - [0, 0, 1], [2]], axis=0)

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `sampling_probability` and `drop_worst` of an epoch, if they are used."""
        options = self._options
        rates: dict[str, tf.Tensor] = {}
        if options.sampling_start is not None:
            rates["sampling_probability"] = sampling_probability(
                epoch,
                start=options.sampling_start,
                every=options.sampling_every,
                increase=options.sampling_increase,
                most=options.sampling_most,
            )
        if options.drop_worst:
            rates["drop_worst"] = tf.where(
                epoch >= options.drop_worst_after, options.drop_worst, 0.0
            )
        return rates

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Returns `cross_entropy` of a replica's rows, and `per_word` if it is per caption."""
        options = self._options
        tokens = tf.reshape(batch["tokens"], [-1, tf.shape(batch["tokens"])[2]])
        lengths = tf.reshape(batch["lengths"], [-1])
        # An image is encoded once, whatever the number of its captions.
        memory = model.encode(batch, training=training)
        fed = tokens[:, :-1]
        if training and "sampling_probability" in batch:
            fed = _scheduled_inputs(model, memory, fed, batch)
        hidden = model.teacher_forced(memory, fed, training=training, lengths=lengths)
        weights, bias = model.output_layer
        drop_worst = batch.get("drop_worst") if training else None
        total, words = caption_loss(
            hidden,
            weights,
            bias,
            tokens[:, 1:],
            lengths,
            smoothing=options.smoothing if training else 0.0,
            drop_worst=drop_worst,
        )
        if options.reduction == "words":
            return {"cross_entropy": LossTerm(total, words)}
        captions = tf.size(lengths)
        if drop_worst is not None:
            captions = kept_captions(captions, drop_worst)
        # Sums per caption are not comparable between lengths, so the log also contains the mean.
        return {
            "cross_entropy": LossTerm(total, captions),
            "per_word": LossTerm(total, words, weight=0.0),
        }

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns None: there is nothing to warn about."""
        del metrics
        return None

    def validation_loss(self, model: Any, batch: Any) -> dict[str, LossTerm]:
        """Returns the loss without label smoothing and with all captions."""
        return self.loss(model, batch, training=False)


def _scheduled_inputs(
    model: Any, memory: Any, fed: tf.Tensor, batch: dict[str, tf.Tensor]
) -> tf.Tensor:
    probability = batch["sampling_probability"]
    draws = tf.reshape(batch["draws"], [-1, tf.shape(fed)[1], 2])
    return tf.cond(
        probability > 0.0,
        lambda: sampled_inputs(
            model,
            memory,
            fed,
            probability=probability,
            choices=draws[:, :, 0],
            draws=draws[:, :, 1],
        ),
        lambda: fed,
    )
