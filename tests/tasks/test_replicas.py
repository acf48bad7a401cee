"""Stages on two replicas and on two workers give the results of one device.

Dropout is off here, because replicas have different dropout masks by design.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.tasks.unsupervised_captioning import experiment
from r2m.tasks.unsupervised_captioning.curriculum import STAGES

ROOT = Path(__file__).parents[2]
STEPS, BATCH = 8, 9

pytestmark = pytest.mark.skipif(
    len(tf.config.list_logical_devices("CPU")) < 2, reason="TensorFlow started with one CPU device"
)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """Returns all tensors of a checkpoint except the seeds, which differ by replica."""
    newest = experiment.checkpoints.newest(folder)
    reader = tf.train.load_checkpoint(str(newest.folder / "variables"))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "seed_generator" not in name}


def assert_same_run(one: Path, two: Path, folders: tuple[str, ...] = ("checkpoints",)) -> None:
    lines, others = read_metrics(one), read_metrics(two)
    assert len(lines) > STEPS
    for a, b in zip(lines, others, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"kind"}:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-5, atol=1e-5, err_msg=name)
    for folder in folders:
        expected, found = tensors(one / folder), tensors(two / folder)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=f"{folder} {name}")


@pytest.fixture(scope="module")
def without_validation(raw, build, build_text, tmp_path_factory) -> tuple[str, str]:
    """Records for training only; the last batch of an epoch has one image: one replica is empty."""
    folder = tmp_path_factory.mktemp("training")
    corpora = build_text(folder / "corpora", validation_fraction=0.0)
    names = (raw / "train.txt").read_text().splitlines()[: 2 * BATCH + 1]
    (folder / "train.txt").write_text("\n".join(names))
    splits = {"train": folder / "train.txt"}
    images = build(folder / "images", corpora=corpora, splits=splits, references=None)
    return str(corpora), str(images)


# A stage of sentences only, and a stage with all losses of the other stages.
@pytest.mark.parametrize("name", ["xe", "joint"])
def test_two_replicas_equal_one(
    name, config, without_validation, small_network, monkeypatch, tmp_path
):
    config.data.corpora, config.data.images = without_validation
    config.model.dropout = 0.0
    config.model.update(small_network)
    config.stages[name].update({"steps": STEPS, "batch_size": BATCH, "evaluate_every": 0})
    config.training.log_every = 1
    monkeypatch.setitem(STAGES, name, dataclasses.replace(STAGES[name], previous=None))
    for strategy in ("one_device", "mirrored"):
        config.training.strategy = strategy
        experiment.run_stage(name, config, tmp_path / strategy)
    assert_same_run(tmp_path / "one_device" / name, tmp_path / "mirrored" / name)


@pytest.mark.timeout(400)
def test_two_workers_equal_one_device(config, small_network, tmp_path):
    """With validation on averaged weights, and best weights."""
    changes: dict[str, Any] = {f"model.{name}": value for name, value in small_network.items()}
    changes |= {"model.dropout": 0.0, "training.log_every": 1, "training.ema_decay": 0.9}
    stage = {"steps": STEPS, "batch_size": BATCH, "evaluate_every": STEPS // 2, "max_length": 10}
    changes |= {f"stages.joint.{name}": value for name, value in stage.items()}
    config.update_from_flattened_dict(changes)
    config.training.strategy = "one_device"
    summary = experiment.run_stage("joint", config, tmp_path / "one")
    assert {"loss", "cider"} <= set(summary.best_metrics)
    command = [
        *[sys.executable, "-m", "r2m.cli.local_workers", "--workers=2", "--"],
        *[sys.executable, "-m", "r2m.cli.train_joint", "--config=configs/r2m/shapes.py:test"],
        *[f"--config.{name}={value}" for name, value in changes.items()],
        *[f"--corpora={config.data.corpora}", f"--images={config.data.images}"],
        f"--workdir={tmp_path / 'two'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "one" / "joint", tmp_path / "two" / "joint"
    assert_same_run(*runs, folders=("checkpoints", "best"))
    assert any(name.startswith("ema/") for name in tensors(runs[1] / "checkpoints"))
