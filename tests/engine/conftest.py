"""Fixtures: two logical CPU devices, and the toy stages on the import path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import engine_toys
import tensorflow as tf

engine_toys.two_devices()


@pytest.fixture
def mirrored() -> tf.distribute.Strategy:
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one device before these tests were loaded")
    return engine_toys.make_strategy("mirrored", replicas=2)


@pytest.fixture(params=["one_device", "mirrored"])
def strategy(request: pytest.FixtureRequest) -> tf.distribute.Strategy:
    if request.param == "mirrored":
        return request.getfixturevalue("mirrored")
    return engine_toys.make_strategy("one_device")
