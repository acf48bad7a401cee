"""Training in half precision and compiled by XLA, against plain float32."""

from __future__ import annotations

import numpy as np
import pytest

from r2m.engine.monitoring.run_log import read_metrics
from r2m.stages import experiment
from tfrecords.errors import InputError


@pytest.fixture
def losses(config, build_text, tmp_path):
    """Losses of the four steps of stage xe, with changed training settings."""
    config.model.dropout = 0.0
    config.training.log_every = 1
    config.data.corpora = str(build_text(tmp_path / "corpora", validation_fraction=0.0))
    config.data.images = ""

    def run(name: str, **changes) -> np.ndarray:
        config.training.update(changes)
        experiment.run_stage("xe", config, tmp_path / name)
        lines = read_metrics(tmp_path / name / "xe")
        return np.array([line["loss"] for line in lines if line["kind"] == "train"])

    return run


def test_half_precision_and_xla_follow_float32(losses):
    plain = losses("plain")
    np.testing.assert_allclose(losses("compiled", jit=True), plain, rtol=1e-5)
    half = losses("half", jit=False, precision="mixed_bfloat16")
    np.testing.assert_allclose(half, plain, rtol=0.02)
    assert not np.array_equal(half, plain)


def test_unknown_precision_lists_the_known_ones(config, tmp_path):
    config.training.precision = "float16"
    with pytest.raises(InputError, match="'float16'; known: float32, mixed_bfloat16"):
        experiment.run_stage("xe", config, tmp_path)
