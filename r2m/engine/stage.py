"""Interface of a training stage to the engine.

Reduction of the loss: a stage returns every term of its loss as two sums over *this replica's*
rows: `total` and `normalizer`. The engine minimizes

    objective = sum_i weight_i * (global sum of total_i) / (global sum of normalizer_i)

so that N replicas are equivalent to one replica with the same global batch, whatever the padding
and number of rows of each replica, including zero. For a stage this means:

- Never compute a mean: return the sum over the rows (or words) and their count.
- A replica may have fewer rows than the others, or none; its sums are then 0. The model receives
  empty batches with a leading dimension of 0.
- `r2m.engine.distribution.gather.all_gather` may be called inside `loss`, for example to compare
  with the whole global batch. Its gradient is summed over the replicas and sliced to each
  replica's rows, so the engine's sum over replicas is the gradient of the sum of all replicas'
  totals: each pair of rows must be counted by exactly one replica (own rows against all gathered
  rows, normalizer = own rows). A loss that every replica computes completely is also correct if
  its normalizer is complete, too: both are then counted once per replica.
- AutoGraph is off: write loops and conditions on tensors as `tf.while_loop` and `tf.cond`.
- Do not `all_reduce` a total: the engine does, and the gradient of an all-reduce is different.
- Randomness: Keras layers in `model` (their seeds are checkpointed, and differ by replica), or
  `tf.random.stateless_*` with a seed that comes with the batch. Unseeded `keras.random` and
  `tf.random` functions break exact resume.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf


class LossTerm(NamedTuple):
    """One term of the objective, summed over one replica's rows.

    Attributes:
        total: float scalar, sum over this replica's rows.
        normalizer: scalar that `total` is divided by after both are summed over all replicas. If
            the global normalizer is 0, the term is 0.
        weight: factor of the term; a term with weight 0 is reported but not optimized.
    """

    total: tf.Tensor
    normalizer: tf.Tensor
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of one evaluation; everything but the metrics is only written to TensorBoard.

    TensorBoard stores one kind of data per tag: texts, images and histograms must not share tags.

    Attributes:
        metrics: name -> value.
        texts: tag -> Markdown.
        images: tag -> uint8 [N,H,W,3].
        histograms: tag -> float [...], values whose distribution is shown.
    """

    metrics: Mapping[str, float]
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    histograms: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Stage(Protocol):
    """A model, its training batches, and its objective.

    Model and stage are built inside `strategy.scope()`. A stage may also have a `unit`, the name of
    the rows of its batches in the display of speed ('sentences'; else 'examples');
    `learning_rate_factor(variable)`, a factor of the learning rate (else 1); and `remark(metrics)`,
    a warning about the training metrics of a log interval (else None).
    """

    @property
    def name(self) -> str:
        """Name in messages and config.json."""

    @property
    def model(self) -> keras.Model:
        """Built model with every variable that the stage trains."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Identity of the data that the weights depend on, such as the vocabulary's sha256.

        It is compared by name whenever weights are restored.
        """

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Variables of `model` to be trained, in a fixed order."""

    @property
    def compares_rows(self) -> bool:
        """True if the loss of one row depends on the other rows of the batch."""

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps per pass over all training data, for durations given in epochs.

        None if the stage has no such number (`r2m.engine.durations`).
        """

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """Returns this worker's rows of infinitely many global batches from step `first_step` on.

        Batch i is a pure function of (seed, i), which makes resume exact. Tensors have the batch as
        their first dimension; every replica receives scalars unchanged. With several workers
        (`r2m.engine.distribution.workers`), each returns its rows as defined by
        `r2m.engine.distribution.sharing.share`.
        """

    def loss(self, batch: Any, training: bool) -> Mapping[str, LossTerm]:
        """Returns the terms of the objective on one replica's share of a global batch, by name."""

    def evaluate(self, step: int) -> Evaluation:
        """Evaluates the model on the host, after `step` steps; must not change the model."""


def unit_of(stage: Stage) -> str:
    """Returns the name of the rows of a stage's batches."""
    return getattr(stage, "unit", "examples")


def learning_rate_factors(stage: Stage) -> list[float]:
    """Returns the factor of the learning rate of each trainable variable."""
    factor = getattr(stage, "learning_rate_factor", lambda variable: 1.0)
    return [factor(variable) for variable in stage.trainable_variables]


def remark_on(stage: Stage, metrics: Mapping[str, float]) -> str | None:
    """Returns a stage's warning about the training metrics of a log interval, or None."""
    remark: Callable[[Mapping[str, float]], str | None] = getattr(stage, "remark", lambda _: None)
    return remark(metrics)
