"""Loss and gradients of one replica's share of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from r2m.engine.distribution.sharing import share
from r2m.engine.errors import TrainingError
from r2m.engine.stage import LossTerm, Stage


class Gradients(NamedTuple):
    """Results of one replica, to be summed over the replicas.

    Attributes:
        objective: float32[], this replica's part of the objective.
        totals: float32[terms].
        normalizers: float32[terms], already summed over the replicas.
        gradients: dense, one for each of `variables`.
        variables: trainable variables that the loss depends on.
        names: names of the terms.
        weights: weights of the terms.
    """

    objective: tf.Tensor
    totals: tf.Tensor
    normalizers: tf.Tensor
    gradients: list[tf.Tensor]
    variables: list[Any]
    names: list[str]
    weights: list[float]


class _LossTracer:
    """Terms and reached variables of a loss, recorded while it is traced."""

    def __init__(self, stage: Stage, variables: Sequence[Any]) -> None:
        self.stage, self.variables = stage, list(variables)
        self.names: list[str] = []
        self.weights: list[float] = []
        self.reached: list[bool] = []
        self.refusal: TrainingError | None = None

    def refuse(self, message: str) -> None:
        # AutoGraph wraps exceptions raised while tracing.
        self.refusal = TrainingError(message)
        raise self.refusal

    def terms(self, batch: Any, training: bool) -> list[LossTerm]:
        terms = self.stage.loss(batch, training=training)
        if not any(term.weight for term in terms.values()):
            self.refuse(f"the loss of stage {self.stage.name!r} has no term with a weight")
        self.names[:], self.weights[:] = terms, [term.weight for term in terms.values()]
        return list(terms.values())

    def normalizers(self, terms: Sequence[LossTerm]) -> tf.Tensor:
        own = tf.stack([tf.cast(term.normalizer, tf.float32) for term in terms])
        # The global normalizers are computed first, so that one backward pass gives the gradients
        # of terms with different normalizers, and replicas only sum them.
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", tf.stop_gradient(own))

    def differentiate(
        self, batch: Any, normalizers: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Returns objective, totals, normalizers and a dense gradient of every reached variable."""
        watched = [variable.value for variable in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            terms = self.terms(batch, training=True)
            totals = tf.stack([tf.cast(term.total, tf.float32) for term in terms])
            if normalizers is None:
                normalizers = self.normalizers(terms)
            factors = tf.math.divide_no_nan(tf.constant(self.weights, tf.float32), normalizers)
            # Terms of weight 0 are left out instead of multiplied by 0, which saves a backward
            # pass.
            objective = tf.add_n(
                [totals[i] * factors[i] for i, weight in enumerate(self.weights) if weight]
            )
        found = tape.gradient(objective, watched)
        self.note_reached([gradient is not None for gradient in found])
        # The gradient of an embedding contains a row per use; Adam and the norm need their sum.
        dense = [tf.convert_to_tensor(gradient) for gradient in found if gradient is not None]
        return objective, totals, normalizers, dense

    def note_reached(self, reached: list[bool]) -> None:
        if not any(reached):
            self.refuse(
                f"the loss of stage {self.stage.name!r} depends on none of its {len(reached)} "
                "trainable variables"
            )
        if not self.reached and not all(reached):
            unreached = [v.path for v, r in zip(self.variables, reached, strict=True) if not r]
            logging.warning(
                "stage %s: its loss does not depend on %d of %d trainable variables, which stay "
                "unchanged: %s",
                self.stage.name, len(unreached), len(reached), ", ".join(unreached),
            )  # fmt: skip
        self.reached[:] = reached


def make_gradient_function(
    stage: Stage,
    variables: Sequence[Any],
    *,
    jit: bool,
    micro_batches: int,
    at_once: int,
    replicas: int,
) -> tuple[Callable[[Any], Gradients], Callable[[], TrainingError | None]]:
    """Returns the function that differentiates the objective, for calls in a replica context.

    Args:
        stage: stage that defines the loss.
        variables: variables to differentiate with respect to.
        jit: compiles loss and gradients with XLA: one program for each shape of batch.
        micro_batches: number of parts that the rows are divided into; the sums are the same.
        at_once: number of parts computed in parallel.
        replicas: number of replicas.

    Returns:
        The function, and another that returns the error raised while it was traced.

    Raises:
        TrainingError: the stage compares rows with each other, which is not possible in parts, nor
            compiled with several replicas.
    """
    if stage.compares_rows and (micro_batches > 1 or (jit and replicas > 1)):
        what = "micro_batches" if micro_batches > 1 else "jit with several replicas"
        raise TrainingError(
            f"stage {stage.name!r} compares the rows of a batch with each other: {what} would "
            "change its loss or cannot be compiled; leave it off for this stage"
        )
    tracing = _LossTracer(stage, variables)
    differentiate = tracing.differentiate
    if jit:
        differentiate = tf.function(differentiate, autograph=False, jit_compile=True)

    def in_parts(batch: Any, normalizers: tf.Tensor) -> Any:
        def body(part: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            objective, totals, _, found = differentiate(
                share(batch, tf.cast(part, tf.int64), micro_batches), normalizers
            )
            left = iter(found)
            dense = [
                next(left) if reached else zeros
                for reached, zeros in zip(tracing.reached, sums[2:], strict=True)
            ]
            added = [a + b for a, b in zip(sums, (objective, totals, *dense), strict=True)]
            return part + 1, *added

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
        start = (tf.constant(0), tf.constant(0.0), tf.zeros_like(normalizers), *zeros)
        _, objective, totals, *sums = tf.while_loop(
            lambda part, *_: part < micro_batches, body, start, parallel_iterations=at_once
        )
        found = [x for x, reached in zip(sums, tracing.reached, strict=True) if reached]
        return objective, totals, normalizers, found

    def gradients(batch: Any) -> Gradients:
        if not jit and micro_batches == 1:
            found = differentiate(batch, None)
        else:
            # The normalizers of all replicas and parts must be summed before the first part is
            # differentiated. Only the normalizers of this loss are used, so the graph is pruned to
            # them.
            normalizers = tracing.normalizers(tracing.terms(batch, training=False))
            run = differentiate if micro_batches == 1 else in_parts
            found = run(batch, normalizers)
        objective, totals, normalizers, dense = found
        reached = [v for v, r in zip(tracing.variables, tracing.reached, strict=True) if r]
        return Gradients(
            objective, totals, normalizers, dense, reached, tracing.names, tracing.weights
        )

    return gradients, lambda: tracing.refusal
