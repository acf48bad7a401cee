"""Threads and memory of a process.

An operation that is split over all cores ends when the slowest core has finished its piece, so a
sequence of many small operations leaves cores idle. Parts of a batch that run in parallel, each on
its own cores, do not.

Every operation allocates and frees tensors of some megabytes. The C library returns freed memory to
the system, which clears each page before it hands it out again. Clearing takes longer than adding
two tensors.
"""

from __future__ import annotations

import ctypes
import os
import sys

import tensorflow as tf
from absl import logging

# Parameters of glibc's `mallopt`, and what it takes for never (an int).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_AT_ONCE = 2**26


def cores() -> int:
    """Returns the number of parts to compute in parallel: the cores, or 1 if there is a GPU."""
    return 1 if tf.config.list_physical_devices("GPU") else os.cpu_count() or 1


def configure_threads(parts: int) -> None:
    """Divides the cores among parts that are computed in parallel, and keeps freed memory.

    Must be called before TensorFlow starts its threads; later calls only log a warning.

    Args:
        parts: computed in parallel.
    """
    _keep_freed_memory()
    if parts == 1:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(max((os.cpu_count() or 1) // parts, 1))
        tf.config.threading.set_inter_op_parallelism_threads(parts)
    except RuntimeError:
        logging.warning("TensorFlow started its threads before they were divided by %d", parts)


def _keep_freed_memory() -> None:
    """Keeps freed memory in the process for its next use (glibc only)."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _NEVER)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _AT_ONCE)
