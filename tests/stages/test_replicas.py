"""The stages under MirroredStrategy: two replicas compute what one device computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.logging import read_metrics
from r2m.stages import experiment


@pytest.mark.skipif(
    len(tf.config.list_logical_devices("CPU")) < 2, reason="TensorFlow started with one CPU device"
)
def test_two_replicas_equal_one_device(config, tmp_path):
    # All losses at once. Dropout masks differ by replica, on purpose: it is off here.
    config.model.dropout = 0.0
    config.stages.joint.update({"steps": 6, "batch_size": 9, "evaluate_every": 3})
    config.training.log_every = 1
    found = {}
    for strategy in ("one_device", "mirrored"):
        config.training.strategy = strategy
        experiment.run_stage("joint", config, tmp_path / strategy)
        run = tmp_path / strategy / "joint"
        reader = tf.train.load_checkpoint(
            str(experiment.checkpoints.newest(run / "checkpoints").folder / "variables")
        )
        weights = {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name.startswith("model/") and "seed" not in name
        }
        found[strategy] = (read_metrics(run), weights)
    (metrics, weights), (mirrored_metrics, mirrored_weights) = found.values()
    assert len(metrics) == len(mirrored_metrics) == 8
    terms = {"cross_entropy", "sentence_reconstruction", "triplet", "image_reconstruction"}
    assert {f"loss/{name}" for name in terms} <= set(metrics[0])
    for one, two in zip(metrics, mirrored_metrics, strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            if name != "kind":
                np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, value in weights.items():
        np.testing.assert_allclose(mirrored_weights[name], value, atol=1e-4, err_msg=name)
