"""Threads and memory of a process.

An operation that is split over all cores ends when the slowest core has finished its piece, so a
sequence of many small operations leaves cores idle. Parts of a batch that run in parallel, each on
its own cores, do not.

Every operation allocates and frees tensors of several megabytes. The C library returns freed memory
to the system, which clears each page before it allocates it again. Clearing takes longer than
adding two tensors.

If little memory is free, TensorFlow's graph optimizer sums tensors in temporary variables. Their
names are not unique among parts that run loops in parallel, which then stop with AlreadyExistsError
(tensorflow/tensorflow#23780, #37740). The page cache counts as used memory, so this happens after
records were read.
"""

from __future__ import annotations

import ctypes
import os
import sys

import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context

# Parameters of glibc's `mallopt`, and its value for "never" (an int).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_AT_ONCE = 2**26


def cores() -> int:
    """Returns the number of parts to compute in parallel: the number of cores, or 1 with a GPU."""
    return 1 if tf.config.list_physical_devices("GPU") else os.cpu_count() or 1


def configure_threads(parts: int) -> None:
    """Divides the cores among parts that are computed in parallel, and configures their memory.

    Must be called before TensorFlow starts its threads; later calls only log a warning.

    Args:
        parts: number of parts computed in parallel.
    """
    _keep_freed_memory()
    _disable_temporary_variables()
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


def _disable_temporary_variables() -> None:
    """Disables the rewriting of sums, for which TensorFlow has no public option."""
    options = rewriter_config_pb2.RewriterConfig(
        memory_optimization=rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    )
    graph_options = config_pb2.GraphOptions(rewrite_options=options)
    context.context()._config = config_pb2.ConfigProto(graph_options=graph_options)
    context.context().function_call_options = None
