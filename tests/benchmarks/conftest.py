"""Puts the modules that benchmarks share on the import path, and optimizes their graphs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def graph_optimizer() -> Iterator[None]:
    """Optimizes graphs as commands do; other tests do not, since they run each a few times."""
    name = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: False})
    yield
    tf.config.optimizer.set_experimental_options({name: before})
