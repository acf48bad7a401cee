"""Which devices train together."""

from __future__ import annotations

import functools

import tensorflow as tf

from r2m.engine.errors import TrainingError

STRATEGIES = ("auto", "one_device", "mirrored")

# Refused by name, with the reason.
REFUSED = {
    "multi_worker": "the engine trains on one machine so far",
    "parameter_server": "Keras 3 does not support it",
    "central_storage": "Keras 3 does not support it",
    "tpu": "the TensorFlow wheels this project is tested with have no TPU support",
}


def make_strategy(name: str = "auto", *, replicas: int | None = None) -> tf.distribute.Strategy:
    """The strategy under whose `scope()` models are built and stages are trained.

    Args:
        name: 'one_device' (the first GPU, else the CPU), 'mirrored' (all GPUs, else all logical
            CPUs) or 'auto' (mirrored where there are two GPUs or more).
        replicas: how many devices 'mirrored' takes; None takes all.

    Returns:
        A `tf.distribute` strategy with one replica per device.

    Raises:
        TrainingError: the strategy is unknown or refused, or there are too few devices.
    """
    if name in REFUSED:
        raise TrainingError(
            f"strategy {name!r} is refused: {REFUSED[name]}; use one of {', '.join(STRATEGIES)}"
        )
    if name not in STRATEGIES:
        raise TrainingError(f"unknown strategy {name!r}; the known ones: {', '.join(STRATEGIES)}")
    devices = tf.config.list_logical_devices("GPU")
    if name == "one_device" or (name == "auto" and len(devices) < 2):
        if replicas not in (None, 1):
            raise TrainingError(f"strategy {name!r} has one replica here, not {replicas}")
        return tf.distribute.get_strategy()
    devices = devices or tf.config.list_logical_devices("CPU")
    wanted = len(devices) if replicas is None else replicas
    if not 1 <= wanted <= len(devices):
        found = ", ".join(device.name for device in devices)
        raise TrainingError(f"{wanted} replicas wanted, but the devices are: {found}")
    return _mirrored(tuple(device.name for device in devices[:wanted]))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # One per process: two strategies over the same devices number their collective operations
    # alike, and TensorFlow then fails with "Collective instance 100 expected type ...".
    return tf.distribute.MirroredStrategy(devices)
