"""The stages on two replicas and on two workers: they compute what one device computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.monitoring.run_log import read_metrics
from r2m.stages import experiment

ROOT = Path(__file__).parents[2]
# All losses at once. Dropout masks differ by replica, on purpose: it is off here.
STEPS, BATCH = 20, 9
CHANGES = {"steps": STEPS, "batch_size": BATCH, "evaluate_every": 0}


def in_process(strategy: str, config: Any, workdir: Path) -> None:
    config.training.strategy = strategy
    experiment.run_stage("joint", config, workdir)


def on_two_workers(config: Any, workdir: Path) -> None:
    fields = {f"stages.joint.{name}": value for name, value in config.stages.joint.items()}
    fields |= {"model.dropout": 0.0, "training.log_every": 1}
    command = [
        *[sys.executable, "-m", "r2m.cli.local_workers", "--workers=2", "--"],
        *[sys.executable, "-m", "r2m.cli.train_joint", "--config=configs/r2m/shapes.py:test"],
        *[f"--config.{name}={value}" for name, value in fields.items()],
        *[f"--corpora={config.data.corpora}", f"--images={config.data.images}"],
        f"--workdir={workdir}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def weights(workdir: Path) -> dict[str, np.ndarray]:
    folder = experiment.checkpoints.newest(workdir / "joint" / "checkpoints").folder
    reader = tf.train.load_checkpoint(str(folder / "variables"))
    names = reader.get_variable_to_shape_map()
    return {n: reader.get_tensor(n) for n in names if n.startswith("model/") and "seed" not in n}


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    len(tf.config.list_logical_devices("CPU")) < 2, reason="TensorFlow started with one CPU device"
)
def test_two_replicas_and_two_workers_equal_one_device(config, raw, build, build_text, tmp_path):
    # Nothing to validate on: only the training is compiled.
    config.data.corpora = str(build_text(tmp_path / "corpora", validation_fraction=0.0))
    config.data.images = str(
        build(
            tmp_path / "images",
            corpora=Path(config.data.corpora),
            splits={"train": raw / "train.txt"},
            references=None,
        )
    )
    config.model.dropout = 0.0
    config.stages.joint.update(CHANGES)
    config.training.log_every = 1
    for strategy in ("one_device", "mirrored"):
        in_process(strategy, config, tmp_path / strategy)
    on_two_workers(config, tmp_path / "multi_worker")
    expected = read_metrics(tmp_path / "one_device" / "joint")
    terms = {"cross_entropy", "sentence_reconstruction", "triplet", "image_reconstruction"}
    assert {f"loss/{name}" for name in terms} <= set(expected[0])
    assert len(expected) == STEPS + 1
    for strategy in ("mirrored", "multi_worker"):
        found = read_metrics(tmp_path / strategy / "joint")
        for one, two in zip(expected, found, strict=True):
            assert one.keys() == two.keys()
            for name in one.keys() - {"kind"}:
                np.testing.assert_allclose(
                    two[name], one[name], rtol=1e-5, atol=1e-5, err_msg=f"{strategy} {name}"
                )
        mine = weights(tmp_path / strategy)
        for name, value in weights(tmp_path / "one_device").items():
            np.testing.assert_allclose(mine[name], value, atol=1e-5, err_msg=f"{strategy} {name}")
