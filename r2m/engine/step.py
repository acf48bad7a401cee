"""Training step, and the graph function that runs many of them.

Shapes in this file: every vector has one entry per loss term, in the order of the terms' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2m.engine.distribution.workers import first_replica
from r2m.engine.gradients import make_gradient_function
from r2m.engine.optimization.averaging import WeightAverage
from r2m.engine.optimization.optimizers import clip_and_decay
from r2m.engine.options import TrainingOptions
from r2m.engine.persistence.variable_names import is_seed_state, variable_names
from r2m.engine.stage import Stage


def seed_replicas(model: keras.Model, seed: int, strategy: tf.distribute.Strategy) -> None:
    """Gives every random layer of `model` its own seed on every replica; keeps the draw counters.

    Keras mirrors seed states; without this function all replicas would draw the same dropout masks.
    The seeds are derived from `seed`, layer and replica, so that a checkpoint only needs the
    counters.
    """
    first = first_replica(strategy)
    for index, state in enumerate(seed_states(model)):
        for replica, copy in enumerate(strategy.experimental_local_results(state.value), first):
            words = np.random.SeedSequence([seed, index, replica]).generate_state(1)
            copy.assign([int(words[0]) >> 1, int(copy.numpy()[1])])


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """Returns the (seed, draw counter) variables of the random layers of `model`."""
    return [variable for variable in model.variables if is_seed_state(variable.path)]


class StepResults:
    """Results of the steps of one graph call.

    Attributes:
        objective: float64 [steps], optimized value.
        gradient_norm: float64 [steps], gradient norm before clipping.
        rows: float64 [steps], rows of the global batch.
        totals: term name -> float64 [steps], summed over the global batch.
        normalizers: term name -> float64 [steps], summed over the global batch.
        gradient_squares: variable -> float64 [steps], half the squared norm of its gradient.
        finite: bool [steps], whether objective and gradient norm are finite; if not, the step did
            not change trained variables.
        compiled: whether the call compiled a program first, which takes much longer than a step.
        weights: term name -> its factor in the objective; empty if not given.
    """

    def __init__(
        self,
        terms: Sequence[str],
        gradients: Sequence[str],
        values: np.ndarray,
        *,
        compiled: bool = False,
        weights: Sequence[float] = (),
    ) -> None:
        """Unpacks the `values` that a train loop returns.

        Args:
            terms: names of the loss terms.
            gradients: names of the variables that have a gradient.
            values: float [steps, 3 + 2 * len(terms) + len(gradients)].
            compiled: whether the call compiled a program.
            weights: weights of the loss terms.
        """
        columns = values.astype(np.float64).T
        self.objective, self.gradient_norm, self.rows = columns[:3]
        ends = np.cumsum([3, len(terms), len(terms)])
        self.totals = dict(zip(terms, columns[ends[0] : ends[1]], strict=True))
        self.normalizers = dict(zip(terms, columns[ends[1] : ends[2]], strict=True))
        self.gradient_squares = dict(zip(gradients, columns[ends[2] :], strict=True))
        self.finite = np.isfinite(self.objective) & np.isfinite(self.gradient_norm)
        self.compiled = compiled
        self.weights = dict(zip(terms, weights, strict=False))


TrainLoop = Callable[[Any, int], StepResults]


def make_train_loop(
    stage: Stage,
    optimizer: keras.optimizers.Optimizer,
    options: TrainingOptions,
    strategy: tf.distribute.Strategy,
    average: WeightAverage | None = None,
) -> TrainLoop:
    """Returns the function that trains for some steps in one graph call.

    Args:
        stage: stage to train; see `r2m.engine.stage` for how its loss is reduced.
        optimizer: optimizer built for `stage.trainable_variables`.
        options: clipping, weight decay, `jit`, `micro_batches` and `at_once`.
        strategy: strategy in whose scope model and optimizer were built.
        average: average of the weights, updated after each step.

    Returns:
        `loop(iterator, steps)`, which reads `steps` global batches from an iterator of
        `distribute(...)`. It raises TrainingError if the stage returns no term or no gradient.
    """
    differentiate, refusal = make_gradient_function(
        stage,
        stage.trainable_variables,
        jit=options.jit,
        micro_batches=options.micro_batches,
        at_once=options.at_once,
        replicas=strategy.num_replicas_in_sync,
    )
    term_names: list[str] = []  # set when the loss is traced
    term_weights: list[float] = []
    gradient_names: list[str] = []
    programs: set[tuple[int, ...]] = set()  # compiled programs, by the sizes of their batches
    names = dict(zip(map(id, stage.model.variables), variable_names(stage.model), strict=True))

    # AutoGraph would rewrite every function of the model, which takes most of the tracing time:
    # stages write their loops as `tf.while_loop`.
    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        found = differentiate(batch)
        term_names[:], term_weights[:] = found.names, found.weights
        gradient_names[:] = [names[id(variable)] for variable in found.variables]
        sums = tf.stack([found.objective, _rows(batch)])
        reduced = context.all_reduce("SUM", [sums, found.totals, *found.gradients])
        objective, rows = tf.unstack(reduced[0])
        totals, gradients = reduced[1], reduced[2:]
        # As in tf.linalg.global_norm; a value that is not finite identifies the gradient.
        squares = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])
        norm = tf.sqrt(2.0 * tf.reduce_sum(squares))
        gradients = clip_and_decay(gradients, found.variables, norm, options)
        replicas = context.num_replicas_in_sync
        if replicas > 1:  # `apply` sums over the replicas again
            gradients = [gradient / replicas for gradient in gradients]
        finite = tf.math.is_finite(objective) & tf.math.is_finite(norm)
        apply_if(finite, optimizer, gradients, found.variables)
        scalars = [objective, tf.cast(norm, tf.float32), rows]
        squares = tf.cast(squares, tf.float32)
        # XLA compiles a program for each; the number of rows determines their division over
        # replicas.
        sizes = _sizes(batch, rows) if options.jit else tf.zeros([0], tf.int32)
        return tf.concat([scalars, totals, found.normalizers, squares], axis=0), sizes

    @tf.function
    def run(iterator: Any, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        results = tf.TensorArray(tf.float32, size=steps)
        all_sizes = tf.TensorArray(tf.int32, size=steps)
        for index in tf.range(steps):
            per_replica, sizes = strategy.run(replica_step, args=(next(iterator),))
            first = strategy.experimental_local_results(per_replica)[0]
            if average is not None:
                taken = tf.reduce_all(tf.math.is_finite(first[:2]))
                average.update(optimizer.iterations, taken)
            results = results.write(index, first)
            all_sizes = all_sizes.write(index, strategy.experimental_local_results(sizes)[0])
        return results.stack(), all_sizes.stack()

    def loop(iterator: Any, steps: int) -> StepResults:
        try:
            values, sizes = (x.numpy() for x in run(iterator, tf.constant(steps, tf.int32)))
        except Exception:
            refused = refusal()
            if refused is not None:
                raise refused from None
            raise
        used = set(map(tuple, sizes.tolist()))
        compiled = not used <= programs
        programs.update(used)
        return StepResults(
            term_names, gradient_names, values, compiled=compiled, weights=term_weights
        )

    return loop


def apply_if(
    condition: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """Calls `optimizer.apply` if a condition holds; call it inside a replica function.

    Args:
        condition: bool scalar, the same on every replica.
        optimizer: optimizer built for at least `variables`.
        gradients: gradients of each variable; summed over the replicas.
        variables: variables to update.
    """

    def everywhere(strategy: tf.distribute.Strategy, condition: Any, gradients: Any) -> None:
        def apply() -> None:
            strategy.extended.call_for_each_replica(
                lambda own: optimizer.apply(own, variables), args=(gradients,)
            )

        tf.cond(strategy.experimental_local_results(condition)[0], apply, lambda: None)

    # The optimizer merges the replicas for its sum, which is not possible inside a branch.
    context = tf.distribute.get_replica_context()
    context.merge_call(everywhere, args=(condition, list(gradients)))


def _sizes(batch: Any, rows: tf.Tensor) -> tf.Tensor:
    """Returns int32[...]: rows of the global batch, and the shapes of this replica's share."""
    shapes = [tf.shape(tensor) for tensor in tf.nest.flatten(batch)]
    return tf.concat([tf.cast(rows, tf.int32)[tf.newaxis], *shapes], axis=0)


def _rows(batch: Any) -> tf.Tensor:
    """Returns float32[]: rows of the first tensor of `batch` that is not a scalar."""
    tensors = [tensor for tensor in tf.nest.flatten(batch) if tensor.shape.rank != 0]
    return tf.cast(tf.shape(tensors[0])[0], tf.float32) if tensors else tf.constant(0.0)
