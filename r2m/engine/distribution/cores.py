"""Work side by side on the cores of a processor.

An operation that is split over all cores ends when the slowest of them has its piece: many small
ones one after the other keep cores waiting. Parts of a batch side by side, each on cores of its
own, do not.
"""

from __future__ import annotations

import os

import tensorflow as tf
from absl import logging


def cores() -> int:
    """How many parts are worth computing side by side: the cores, or 1 where there is a GPU."""
    return 1 if tf.config.list_physical_devices("GPU") else os.cpu_count() or 1


def share_cores(parts: int) -> None:
    """Gives each of the parts that are computed at once its own share of the cores.

    To be called before TensorFlow does anything: later it is only said that it comes too late.
    """
    if parts == 1:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(max((os.cpu_count() or 1) // parts, 1))
        tf.config.threading.set_inter_op_parallelism_threads(parts)
    except RuntimeError:
        logging.warning("TensorFlow already has its threads: they are not shared by %d", parts)
