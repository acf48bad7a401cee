"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf
from hypothesis import settings

# By default an example that takes 0.2 s fails, which depends on what else the machine does.
settings.register_profile("r2m", deadline=None)
settings.load_profile("r2m")

# Two devices are enough to test distribution. Their number must be set before TensorFlow starts.
with contextlib.suppress(RuntimeError):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

# Tests compile many small graphs and run each a few times, so optimizing them costs more than it
# saves. The end-to-end tests run the scripts with the optimizer, in separate processes.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# Tracing creates millions of long-lived objects; garbage collection would take a tenth of the time.
gc.freeze()
gc.set_threshold(10_000, 10, 10)
# A module that makes more tensors, in graphs or not, leaves garbage worth collecting at once.
_MANY_TENSORS = 5_000

sys.path.insert(0, str(Path(__file__).parent))
from run_fixtures import *  # noqa: E402, F403


@pytest.fixture(scope="module", autouse=True)
def free_graphs() -> Iterator[None]:
    """Frees the graphs that the tests of a module have traced.

    TensorFlow registers each traced custom gradient for the life of the process, and with it the
    graph that it belongs to. Without this fixture a worker grows to 11 GB in the whole suite.
    """
    from tensorflow.python.framework.ops import gradient_registry, uid

    known, first = set(gradient_registry.list()), uid()
    yield
    for name in set(gradient_registry.list()) - known:
        if name.startswith("CustomGradient-"):
            del gradient_registry._registry[name]
    # Searching for garbage takes up to seconds, and most modules trace no graph.
    if uid() - first > _MANY_TENSORS:
        gc.collect()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets; tests that need it are skipped if it is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("R2M_SHARED_DATA", default))
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder} (set R2M_SHARED_DATA to its folder)")
    return folder
