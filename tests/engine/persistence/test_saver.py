"""Checkpoints that are written in the background."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.saver import Saver


def save(saver: Saver, folder: Path, step: int, value: float = 0.0) -> None:
    tensors = {"model/x": np.full(3, value, np.float32)}
    saver.save(folder, step, tensors=tensors, sidecar={"variables": []}, keep=2)


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, digest = threading.Event(), checkpoints.digest

    def slow(path: Path) -> Any:
        assert go_on.wait(30)
        return digest(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "digest", slow)
        with Saver() as saver:
            save(saver, tmp_path, 1)
            save(saver, tmp_path, 2, 2.0)
            saver.check()
            assert not list(tmp_path.glob("step-*"))  # reached before either was written
            go_on.set()
            saver.wait()
            assert len(list(tmp_path.glob("step-*"))) == 2
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.step == 2
    reader = tf.train.load_checkpoint(str(found.folder / "variables"))
    np.testing.assert_array_equal(reader.get_tensor("model/x"), [2, 2, 2])


def test_a_failure_is_raised_by_the_next_call_or_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write .*file/step-00000001"), Saver() as saver:
        save(saver, tmp_path / "file", 1)
    with Saver() as saver:
        save(saver, tmp_path / "file", 1)
        with pytest.raises(TrainingError, match="cannot write"):
            saver.wait()
        save(saver, tmp_path / "run", 1)  # after space was freed
    assert checkpoints.newest(tmp_path / "run") is not None


def test_another_error_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ZeroDivisionError), Saver() as saver:
        save(saver, tmp_path / "file", 1)
        raise ZeroDivisionError
