"""Advice to users if all checkpoints of a folder are damaged or missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import pytest

from r2m.engine.errors import TrainingError
from r2m.engine.persistence import checkpoints


@pytest.fixture
def run(tmp_path: Path) -> Path:
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD()
    tensors = checkpoints.snapshot(model, optimizer)
    sidecar = {"state": {"best_step": 2}}
    for parent, step in ((checkpoints.BEST, 2), (checkpoints.LATEST, 4)):
        checkpoints.save(tmp_path / parent, step, tensors=tensors, sidecar=sidecar, keep=1)
    return tmp_path


def damage(folder: Path) -> None:
    for path in folder.glob("step-*/variables.data*"):
        path.write_bytes(b"")


def test_damaged_best_weights(run: Path) -> None:
    damage(run / "best")
    with pytest.raises(TrainingError, match=rf"remove {run}/best: .* {run}/checkpoints/step-0*4 a"):
        checkpoints.best_or_latest(run)
    damage(run / "checkpoints")
    with pytest.raises(TrainingError, match=rf"or remove {run} to train this stage from the start"):
        checkpoints.best_or_latest(run)


def test_damaged_latest_checkpoints(run: Path) -> None:
    damage(run / "checkpoints")
    with pytest.raises(TrainingError, match=rf"another --workdir .*--init_from={run}\)"):
        checkpoints.newest(run / "checkpoints")


def test_removed_best_weights_are_not_replaced_in_silence(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(run / "best")
    found = checkpoints.best_or_latest(run)
    assert found is not None and found.step == 4
    checkpoints.require_best_or_latest(run)
    assert caplog.text.count("although step 2 was the best: using step 4 instead") == 1


def test_a_first_checkpoint_that_fails_claims_no_earlier_ones(run: Path) -> None:
    assert "earlier" not in checkpoints._hint_on_failure(run / "new")
    assert "up to step-00000004" in checkpoints._hint_on_failure(run / "checkpoints")
