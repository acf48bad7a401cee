"""Tests of threads and memory of a process."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context

from r2m.engine.distribution import cores


def _memory_optimization() -> int:
    """Returns the memory optimization of graphs that are called from this thread."""
    serialized = context.context().function_call_options.config_proto_serialized
    config = config_pb2.ConfigProto.FromString(serialized)
    return config.graph_options.rewrite_options.memory_optimization


def test_sums_never_become_temporary_variables_in_any_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(context.context(), "_config", None)
    monkeypatch.setattr(cores, "_keep_freed_memory", lambda: None)
    monkeypatch.setattr(context.context(), "function_call_options", None)
    off = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    assert _memory_optimization() != off
    cores.configure_threads(1)
    assert _memory_optimization() == off
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(_memory_optimization).result() == off
