"""How a process uses its machine: cores, side by side, and memory.

An operation that is split over all cores ends when the slowest of them has its piece: many small
ones one after the other keep cores waiting. Parts of a batch side by side, each on cores of its
own, do not.

Tensors of some megabytes come and go at every operation. The C library gives their memory back to
the system, which clears each page anew when it is asked for again: that takes longer than adding
two tensors does.
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
    """How many parts are worth computing side by side: the cores, or 1 where there is a GPU."""
    return 1 if tf.config.list_physical_devices("GPU") else os.cpu_count() or 1


def use_machine(parts: int) -> None:
    """Gives each of the parts that are computed at once its own share of the cores; keeps memory.

    To be called before TensorFlow does anything: later it is only said that it comes too late.
    """
    _keep_freed_memory()
    if parts == 1:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(max((os.cpu_count() or 1) // parts, 1))
        tf.config.threading.set_inter_op_parallelism_threads(parts)
    except RuntimeError:
        logging.warning("TensorFlow already has its threads: they are not shared by %d", parts)


def _keep_freed_memory() -> None:
    """Has what was freed wait in this process for its next use (glibc; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _NEVER)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _AT_ONCE)
