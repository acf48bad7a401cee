"""The training step, and the graph function that runs many of them.

Shapes in this file: every vector has one entry per loss term, in the order of the terms' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from r2m.engine.averaging import WeightAverage
from r2m.engine.errors import TrainingError
from r2m.engine.names import is_seed_state
from r2m.engine.optimizers import clip_and_decay
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import Stage


def seed_replicas(model: keras.Model, seed: int, strategy: tf.distribute.Strategy) -> None:
    """Gives every random layer of `model` its own seed on every replica; keeps the draw counters.

    Keras mirrors seed states, so that without this all replicas draw the same dropout masks. The
    seeds follow from `seed`, layer and replica: a checkpoint needs to hold the counters only.
    """
    for index, state in enumerate(seed_states(model)):
        for replica, copy in enumerate(strategy.experimental_local_results(state.value)):
            words = np.random.SeedSequence([seed, index, replica]).generate_state(1)
            copy.assign([int(words[0]) >> 1, int(copy.numpy()[1])])


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The (seed, draw counter) variables of the random layers of `model`."""
    return [variable for variable in model.variables if is_seed_state(variable.path)]


def distribute(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Splits each global batch of an endless `dataset` evenly over the replicas, in order.

    TensorFlow's own way (`experimental_distribute_dataset`) re-batches: after a ragged batch it
    fills up from the next one, which moves the boundaries of all later batches.

    Args:
        dataset: its tensors have the batch as first dimension; scalars are not split.
        strategy: B rows over R replicas give ceil(B / R) rows to each, the last ones fewer or none.

    Returns:
        An iterable that yields one value per replica.
    """
    replicas = strategy.num_replicas_in_sync

    def shares(*elements: Any) -> tf.data.Dataset:
        # tf.data passes the elements of a tuple one by one.
        batch = elements if isinstance(dataset.element_spec, tuple) else elements[0]

        def share(replica: tf.Tensor) -> Any:
            def rows(tensor: Any) -> Any:
                if tensor.shape.rank == 0:
                    return tensor
                size = tf.shape(tensor, out_type=tf.int64)[0]
                each = -(-size // replicas)
                first = tf.minimum(replica * each, size)
                return tensor[first : tf.minimum(first + each, size)]

            return tf.nest.map_structure(rows, batch)

        return tf.data.Dataset.range(replicas).map(share)

    def local_shares(_: tf.distribute.InputContext) -> tf.data.Dataset:
        split = dataset if replicas == 1 else dataset.flat_map(shares)
        # Known to be endless, the iterator needs no branch for its end in every step.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return split.apply(endless).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(local_shares)


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
        options: clipping and weight decay are read.
        strategy: the one that model and optimiser were built under.
        average: of the weights, brought up to date after each step.

    Returns:
        `loop(iterator, steps)`, which takes `steps` global batches from an iterator of
        `distribute(...)`. Raises TrainingError if the stage gives no term or no gradient.
    """
    variables = list(stage.trainable_variables)
    term_names: list[str] = []  # known once the loss is traced
    refusals: list[TrainingError] = []
    unreached_reported: list[bool] = []

    def refuse(message: str) -> None:
        refusals.append(TrainingError(message))
        raise refusals[0]

    # AutoGraph would rewrite every function of the model, which takes most of the tracing time:
    # stages write their loops as `tf.while_loop`.
    @tf.autograph.experimental.do_not_convert
    def replica_step(batch: Any) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            terms = stage.loss(batch, training=True)
            if not any(term.weight for term in terms.values()):
                refuse(f"the loss of stage {stage.name!r} has no term with a weight")
            term_names[:] = terms
            totals = tf.stack([tf.cast(term.total, tf.float32) for term in terms.values()])
            normalisers = tf.stack([tf.cast(t.normaliser, tf.float32) for t in terms.values()])
            # The global normalisers come first, so that the gradients of terms with different
            # normalisers can be taken in one backward pass and simply be summed over the replicas.
            normalisers = context.all_reduce("SUM", tf.stop_gradient(normalisers))
            factors = tf.math.divide_no_nan(
                tf.constant([term.weight for term in terms.values()], tf.float32), normalisers
            )
            # Terms of weight 0 are left out rather than multiplied by 0: no backward pass for them.
            objective = tf.add_n(
                [totals[i] * factors[i] for i, term in enumerate(terms.values()) if term.weight]
            )
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        reached = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        if not reached:
            refuse(
                f"the loss of stage {stage.name!r} depends on none of its {len(variables)} "
                "trainable variables"
            )
        if len(reached) < len(variables) and not unreached_reported:
            unreached_reported.append(True)
            _report_unreached(stage, variables, gradients)

        # The gradient of an embedding lists a row once per use; Adam and the norm need their sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient, _ in reached]
        reduced = context.all_reduce("SUM", [objective, totals, *gradients])
        objective, totals, gradients = reduced[0], reduced[1], reduced[2:]
        norm = tf.linalg.global_norm(gradients)
        gradients = clip_and_decay(gradients, [v for _, v in reached], norm, options)
        # `apply` sums over the replicas once more.
        replicas = context.num_replicas_in_sync
        gradients = [gradient / replicas for gradient in gradients]
        optimizer.apply(gradients, [variable for _, variable in reached])
        return tf.concat([[objective, tf.cast(norm, tf.float32)], totals, normalisers], axis=0)

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
            if refusals:  # AutoGraph wraps what is raised while tracing in an error of its own
                raise refusals[0] from None
            raise
        return StepResults(term_names, values)

    return loop


def _report_unreached(stage: Stage, variables: Sequence[Any], gradients: Sequence[Any]) -> None:
    unreached = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
    logging.warning(
        "stage %s: its loss does not depend on %d of %d trainable variables, which stay as they "
        "are: %s",
        stage.name, len(unreached), len(variables), ", ".join(unreached),
    )  # fmt: skip
