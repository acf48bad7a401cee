"""Workers: processes, on one machine or several, that train one model together.

With `multi_worker`, every worker runs the same command. Each computes its rows of every global
batch; only the chief (worker 0) evaluates and writes files, which all of them read.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from r2m.engine.errors import TrainingError, plain_message


@dataclasses.dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes:
        index: 0 for the chief.
        count: number of workers.
    """

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        """True if this worker evaluates and writes."""
        return self.index == 0


def this_worker(strategy: tf.distribute.Strategy) -> Worker:
    """Returns this process as a worker of the strategy."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Worker()
    resolver = strategy.cluster_resolver
    tasks = resolver.cluster_spec().as_dict()
    chiefs = len(tasks.get("chief", ()))
    index = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    return Worker(index, chiefs + len(tasks.get("worker", ())))


def first_replica(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of this worker's first replica among those of all workers."""
    worker = this_worker(strategy)
    return worker.index * (strategy.num_replicas_in_sync // worker.count)


def sum_over_workers(strategy: tf.distribute.Strategy, value: float) -> float:
    """Returns the sum of the workers' values; every worker must call this at the same point."""
    if this_worker(strategy).count == 1:
        return value
    mine = first_replica(strategy)

    def share() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(replica, mine), tf.constant(value, tf.float64), 0.0)

    with reporting_lost_workers(strategy):
        per_replica = strategy.run(share)
        return float(strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None))


def chief_value(strategy: tf.distribute.Strategy, value: float) -> float:
    """Returns the chief's value; every worker must call this at the same point."""
    return sum_over_workers(strategy, value if this_worker(strategy).is_chief else 0.0)


@contextlib.contextmanager
def reporting_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Converts TensorFlow's errors about a lost worker to a TrainingError."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.InternalError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ) as error:
        worker = this_worker(strategy)
        if worker.count == 1:
            raise
        reason = plain_message(str(error.message))[:200]
        raise TrainingError(
            f"worker {worker.index} of {worker.count} lost the connection to another one, which "
            f"ended or cannot be reached ({reason}). Start the same command on all workers again: "
            "they resume from the last checkpoint"
        ) from error
