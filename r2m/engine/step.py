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

from r2m.engine.errors import TrainingError
from r2m.engine.names import is_seed_state, variable_names
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
        rows: float64 [steps], rows of the global batch.
        totals: term name -> float64 [steps], summed over the global batch.
        normalisers: term name -> float64 [steps], summed over the global batch.
        gradient_squares: variable -> float64 [steps], half the squared norm of its gradient.
        finite: bool [steps], whether objective and gradient norm are finite; where they are not,
            the step changed no variable that is trained.
    """

    def __init__(self, terms: Sequence[str], gradients: Sequence[str], values: np.ndarray) -> None:
        """Unpacks `values`, as a train loop returns them.

        Args:
            terms: names of the loss terms.
            gradients: names of the variables that have a gradient.
            values: float [steps, 3 + 2 * len(terms) + len(gradients)].
        """
        columns = values.astype(np.float64).T
        self.objective, self.gradient_norm, self.rows = columns[:3]
        ends = np.cumsum([3, len(terms), len(terms)])
        self.totals = dict(zip(terms, columns[ends[0] : ends[1]], strict=True))
        self.normalisers = dict(zip(terms, columns[ends[1] : ends[2]], strict=True))
        self.gradient_squares = dict(zip(gradients, columns[ends[2] :], strict=True))
        self.finite = np.isfinite(self.objective) & np.isfinite(self.gradient_norm)


TrainLoop = Callable[[Any, int], StepResults]


def make_train_loop(
    stage: Stage,
    optimizer: keras.optimizers.Optimizer,
    options: TrainingOptions,
    strategy: tf.distribute.Strategy,
) -> TrainLoop:
    """The function that trains for some steps in one graph call.

    Args:
        stage: what to train; see `r2m.engine.stage` for how its loss is reduced.
        optimizer: built for `stage.trainable_variables`.
        options: clipping and weight decay are read.
        strategy: the one that model and optimiser were built under.

    Returns:
        `loop(iterator, steps)`, which takes `steps` global batches from an iterator of
        `distribute(...)`. Raises TrainingError if the stage gives no term or no gradient.
    """
    variables = list(stage.trainable_variables)
    term_names: list[str] = []  # known once the loss is traced
    gradient_names: list[str] = []
    names = dict(zip(map(id, stage.model.variables), variable_names(stage.model), strict=True))
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
        gradient_names[:] = [names[id(variable)] for _, variable in reached]
        sums = tf.stack([objective, _rows(batch)])
        reduced = context.all_reduce("SUM", [sums, totals, *gradients])
        objective, rows = tf.unstack(reduced[0])
        totals, gradients = reduced[1], reduced[2:]
        # As tf.linalg.global_norm; which of them is not finite tells which gradient is not.
        squares = tf.stack([tf.nn.l2_loss(gradient) for gradient in gradients])
        norm = tf.sqrt(2.0 * tf.reduce_sum(squares))
        if options.clip_global_norm is not None:
            scale = options.clip_global_norm / tf.maximum(norm, options.clip_global_norm)
            gradients = [gradient * scale for gradient in gradients]
        if options.weight_decay:
            gradients = [
                gradient + options.weight_decay * tf.cast(variable.value, gradient.dtype)
                for gradient, (_, variable) in zip(gradients, reached, strict=True)
            ]
        # `apply` sums over the replicas once more.
        replicas = context.num_replicas_in_sync
        gradients = [gradient / replicas for gradient in gradients]
        finite = tf.math.is_finite(objective) & tf.math.is_finite(norm)
        apply_if(finite, optimizer, gradients, [variable for _, variable in reached])
        scalars = [objective, tf.cast(norm, tf.float32), rows]
        squares = tf.cast(squares, tf.float32)
        return tf.concat([scalars, totals, normalisers, squares], axis=0)

    @tf.function
    def run(iterator: Any, steps: tf.Tensor) -> tf.Tensor:
        results = tf.TensorArray(tf.float32, size=steps)
        for index in tf.range(steps):
            per_replica = strategy.run(replica_step, args=(next(iterator),))
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
        return StepResults(term_names, gradient_names, values)

    return loop


def apply_if(
    condition: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """`optimizer.apply`, or nothing at all; call it inside a replica function.

    Args:
        condition: bool scalar, the same on every replica.
        optimizer: built for at least `variables`.
        gradients: of each variable; summed over the replicas.
        variables: what to change.
    """

    def everywhere(strategy: tf.distribute.Strategy, condition: Any, gradients: Any) -> None:
        def apply() -> None:
            strategy.extended.call_for_each_replica(
                lambda own: optimizer.apply(own, variables), args=(gradients,)
            )

        tf.cond(strategy.experimental_local_results(condition)[0], apply, lambda: None)

    # The optimiser leaves the replicas for its sum, which it cannot do from inside a branch there.
    context = tf.distribute.get_replica_context()
    context.merge_call(everywhere, args=(condition, list(gradients)))


def _rows(batch: Any) -> tf.Tensor:
    """float32 scalar: rows of the first tensor of `batch` that is no scalar."""
    tensors = [tensor for tensor in tf.nest.flatten(batch) if tensor.shape.rank != 0]
    return tf.cast(tf.shape(tensors[0])[0], tf.float32) if tensors else tf.constant(0.0)


def _report_unreached(stage: Stage, variables: Sequence[Any], gradients: Sequence[Any]) -> None:
    unreached = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
    logging.warning(
        "stage %s: its loss does not depend on %d of %d trainable variables, which stay as they "
        "are: %s",
        stage.name, len(unreached), len(variables), ", ".join(unreached),
    )  # fmt: skip
