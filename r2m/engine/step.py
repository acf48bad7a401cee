"""The training step, and the graph function that runs many of them.

Shapes in this file: every vector has one entry per loss term, in the order of the terms' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2m.engine.averaging import WeightAverage
from r2m.engine.gradients import make_gradient_function
from r2m.engine.names import is_seed_state
from r2m.engine.optimizers import clip_and_decay
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import Stage
from r2m.engine.workers import first_replica


def seed_replicas(model: keras.Model, seed: int, strategy: tf.distribute.Strategy) -> None:
    """Gives every random layer of `model` its own seed on every replica; keeps the draw counters.

    Keras mirrors seed states, so that without this all replicas draw the same dropout masks. The
    seeds follow from `seed`, layer and replica: a checkpoint needs to hold the counters only.
    """
    first = first_replica(strategy)
    for index, state in enumerate(seed_states(model)):
        for replica, copy in enumerate(strategy.experimental_local_results(state.value), first):
            words = np.random.SeedSequence([seed, index, replica]).generate_state(1)
            copy.assign([int(words[0]) >> 1, int(copy.numpy()[1])])


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The (seed, draw counter) variables of the random layers of `model`."""
    return [variable for variable in model.variables if is_seed_state(variable.path)]


class StepResults:
    """What the steps of one graph call found.

    Attributes:
        objective: float64 [steps], the value that was optimised.
        gradient_norm: float64 [steps], before clipping.
        totals: term name -> float64 [steps], summed over the global batch.
        normalisers: term name -> float64 [steps], summed over the global batch.
    """

    def __init__(self, names: Sequence[str], values: np.ndarray) -> None:
        """Unpacks `values`, float [steps, 2 + 2 * len(names)], as a train loop returns them."""
        columns = values.astype(np.float64).T
        self.objective, self.gradient_norm = columns[:2]
        self.totals = dict(zip(names, columns[2 : 2 + len(names)], strict=True))
        self.normalisers = dict(zip(names, columns[2 + len(names) :], strict=True))

    def first_bad(self) -> int | None:
        """Index of the first step whose objective or gradient norm is not finite."""
        bad = ~(np.isfinite(self.objective) & np.isfinite(self.gradient_norm))
        return int(np.argmax(bad)) if bad.any() else None


TrainLoop = Callable[[Any, int], StepResults]


def make_train_loop(
    stage: Stage,
    optimizer: keras.optimizers.Optimizer,
    options: TrainingOptions,
    strategy: tf.distribute.Strategy,
    average: WeightAverage | None = None,
) -> TrainLoop:
    """The function that trains for some steps in one graph call.

    Args:
        stage: what to train; see `r2m.engine.stage` for how its loss is reduced.
        optimizer: built for `stage.trainable_variables`.
        options: clipping, weight decay, `jit` and `micro_batches` are read.
        strategy: the one that model and optimiser were built under.
        average: of the weights, brought up to date after each step.

    Returns:
        `loop(iterator, steps)`, which takes `steps` global batches from an iterator of
        `distribute(...)`. Raises TrainingError if the stage gives no term or no gradient.
    """
    differentiate, refusal = make_gradient_function(
        stage,
        stage.trainable_variables,
        jit=options.jit,
        micro_batches=options.micro_batches,
        replicas=strategy.num_replicas_in_sync,
    )
    term_names: list[str] = []  # known once the loss is traced

    # AutoGraph would rewrite every function of the model, which takes most of the tracing time:
    # stages write their loops as `tf.while_loop`.
    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Any) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        found = differentiate(batch)
        term_names[:] = found.names
        reduced = context.all_reduce("SUM", [found.objective, found.totals, *found.gradients])
        objective, totals, gradients = reduced[0], reduced[1], reduced[2:]
        norm = tf.linalg.global_norm(gradients)
        gradients = clip_and_decay(gradients, found.variables, norm, options)
        # `apply` sums over the replicas once more.
        replicas = context.num_replicas_in_sync
        gradients = [gradient / replicas for gradient in gradients]
        optimizer.apply(gradients, found.variables)
        return tf.concat(
            [[objective, tf.cast(norm, tf.float32)], totals, found.normalisers], axis=0
        )

    @tf.function
    def run(iterator: Any, steps: tf.Tensor) -> tf.Tensor:
        results = tf.TensorArray(tf.float32, size=steps)
        for index in tf.range(steps):
            per_replica = strategy.run(replica_step, args=(next(iterator),))
            if average is not None:
                average.update(optimizer.iterations)
            first = strategy.experimental_local_results(per_replica)[0]
            results = results.write(index, first)
        return results.stack()

    def loop(iterator: Any, steps: int) -> StepResults:
        try:
            values = run(iterator, tf.constant(steps, tf.int32)).numpy()
        except Exception:
            refused = refusal()
            if refused is not None:
                raise refused from None
            raise
        return StepResults(term_names, values)

    return loop
