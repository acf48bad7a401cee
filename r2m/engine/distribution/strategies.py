"""Strategies: the devices that train together."""

from __future__ import annotations

import functools
import json
import os

import tensorflow as tf

from r2m.engine.errors import TrainingError, plain_message
from r2m.engine.signals import default_signals

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")

# Rejected names and reasons.
REFUSED = {
    "parameter_server": "Keras 3 does not support it",
    "central_storage": "Keras 3 does not support it",
    "tpu": "the TensorFlow wheels this project is tested with have no TPU support",
}


def make_strategy(name: str = "auto", *, replicas: int | None = None) -> tf.distribute.Strategy:
    """Returns the strategy in whose `scope()` models are built and stages are trained.

    Args:
        name: 'one_device' (the first GPU, else the CPU), 'mirrored' (all GPUs, else all logical
            CPUs), 'multi_worker' (all GPUs, else the CPU, of every process that TF_CONFIG lists;
            must be called before TensorFlow does anything else) or 'auto' (multi_worker if
            TF_CONFIG lists several processes, mirrored with two or more GPUs).
        replicas: number of devices of 'mirrored'; None uses all.

    Returns:
        A `tf.distribute` strategy with one replica per device.

    Raises:
        TrainingError: the strategy is unknown or rejected, there are too few devices, or TF_CONFIG
            is invalid for multi_worker.
    """
    if name in REFUSED:
        raise TrainingError(
            f"strategy {name!r} is not supported: {REFUSED[name]}; use one of "
            f"{', '.join(STRATEGIES)}"
        )
    if name not in STRATEGIES:
        raise TrainingError(f"unknown strategy {name!r}; known: {', '.join(STRATEGIES)}")
    if name == "auto" and len(_cluster()) > 1:
        name = "multi_worker"
    if name == "multi_worker":
        if replicas is not None:
            raise TrainingError("strategy 'multi_worker' uses all devices of every worker")
        return _multi_worker(os.environ.get("TF_CONFIG", ""))
    devices = tf.config.list_logical_devices("GPU")
    if name == "one_device" or (name == "auto" and len(devices) < 2):
        if replicas not in (None, 1):
            raise TrainingError(f"strategy {name!r} has one replica here, not {replicas}")
        return tf.distribute.get_strategy()
    devices = devices or tf.config.list_logical_devices("CPU")
    wanted = len(devices) if replicas is None else replicas
    if not 1 <= wanted <= len(devices):
        found = ", ".join(device.name for device in devices)
        raise TrainingError(
            f"{wanted} replicas: expected 1 to {len(devices)}, one per device ({found})"
        )
    return _mirrored(tuple(device.name for device in devices[:wanted]))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # Only one per process: two strategies on the same devices use the same numbers for their
    # collective operations, and TensorFlow then fails with "Collective instance 100 expected type
    # ...".
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(_: str) -> tf.distribute.MultiWorkerMirroredStrategy:
    if not _cluster():
        raise TrainingError(
            "strategy 'multi_worker' needs the environment variable TF_CONFIG on every worker: "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", '
            '"index": 0}}; r2m-local-workers sets it for workers on one machine'
        )
    try:
        with default_signals():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        reason = plain_message(str(getattr(error, "message", error)))
        raise TrainingError(f"the workers of TF_CONFIG cannot be joined: {reason}") from error


def _cluster() -> list[str]:
    """Returns the addresses of all workers in TF_CONFIG; empty if it is not set."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
        tasks = config.get("cluster", {})
        wrong = sorted(set(tasks) - {"chief", "worker"})
        task = config.get("task", {})
        if tasks and not 0 <= int(task["index"]) < len(tasks[task["type"]]):
            raise IndexError(f"there is no {task['type']} {task['index']}")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"TF_CONFIG is not a cluster with this worker in it ({error!r}): {text[:200]}"
        ) from error
    if wrong:
        raise TrainingError(
            f"TF_CONFIG lists {', '.join(wrong)}: only the types chief and worker are supported"
        )
    return [address for addresses in tasks.values() for address in addresses]
