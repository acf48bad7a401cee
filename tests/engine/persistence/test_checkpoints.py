from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.persistence import checkpoints, durable_files
from r2m.engine.persistence.variable_names import describe_variables, variable_names


def make(units: int = 3, *, bias: bool = True, name: str = "net") -> keras.Model:
    """Returns a model with unnamed inner layers, which Keras numbers consecutively per process."""
    model = keras.Sequential(
        [
            keras.layers.Dense(units, use_bias=bias),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ],
        name=name,
    )
    model.build((None, 4))
    return model


def fill(model: keras.Model, value: float) -> None:
    for variable in model.variables:
        variable.assign(np.full(variable.shape, value))


def save(model: keras.Model, parent: Path, step: int, keep: int = 2) -> checkpoints.Checkpoint:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    sidecar = {
        "fingerprint": {"vocabulary": "abc"},
        **describe_variables(model, model.trainable_variables),
    }
    tensors = checkpoints.snapshot(model, optimizer)
    return checkpoints.save(parent, step, tensors=tensors, sidecar=sidecar, keep=keep)


def restore(checkpoint: checkpoints.Checkpoint, model: keras.Model, **expected: Any) -> None:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    expected = expected or describe_variables(model, model.trainable_variables)
    checkpoints.restore(checkpoint, model=model, optimizer=optimizer, expected=expected)


def test_names_do_not_depend_on_what_was_built_before() -> None:
    first, second = make(), make(name="other")
    assert variable_names(first) == variable_names(second)
    assert [v.path for v in first.variables] != [v.path for v in second.variables]
    assert len(set(variable_names(first))) == len(first.variables)


def test_names_keep_the_order_of_numbered_layers() -> None:
    def build(order: tuple[int, ...]) -> list[str]:
        layers = [keras.layers.Dense(2, use_bias=False, name=f"block_{i}") for i in order]
        model = keras.Sequential(layers, name="net")
        model.build((None, 2))
        return variable_names(model)

    assert build((3, 10)) == ["block/kernel", "block_1/kernel"]
    assert build((10, 3)) == ["block_1/kernel", "block/kernel"]


def test_round_trip_with_seeds(tmp_path: Path) -> None:
    model, other = make(), make()
    fill(model, 3.0)
    checkpoint = save(model, tmp_path, 7)
    restore(checkpoint, other)
    assert checkpoints.newest(tmp_path) == checkpoint
    for a, b in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert any("seed_generator_state" in name for name in variable_names(other))


def test_keeps_the_last_and_drops_later_ones(tmp_path: Path) -> None:
    model = make()
    for step in (1, 2, 9, 3):
        save(model, tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


class Killed(BaseException):
    """Simulates SIGKILL: no cleanup code may run after it."""


def test_death_at_any_disk_access_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make(), make()
    fill(old, 1.0)
    fill(new, 2.0)
    found = set()
    for number in range(1, 60):
        parent = tmp_path / str(number)
        save(old, parent, 1)
        calls = 0

        def dying(function: Callable[..., Any], number: int = number) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    raise Killed
                if calls > number:
                    return None
                return function(*args, **kwargs)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "sync", dying(durable_files.sync))
            patch.setattr(checkpoints, "digest", dying(durable_files.digest))
            patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
            patch.setattr(Path, "rename", dying(Path.rename))
            patch.setattr(Path, "mkdir", dying(Path.mkdir))
            patch.setattr(Path, "write_text", dying(Path.write_text))
            try:
                save(new, parent, 2, keep=1)
                break
            except Killed:
                pass
        checkpoint = checkpoints.newest(parent)
        assert checkpoint is not None
        model = make()
        restore(checkpoint, model)
        assert float(model.variables[0].numpy().ravel()[0]) == checkpoint.step
        found.add(checkpoint.step)
        checkpoints.clean(parent)
        assert all(path.name.startswith("step-") for path in parent.iterdir())
    else:
        pytest.fail("the save never got through")
    assert number > 10
    assert found == {1, 2}


@pytest.mark.parametrize("name", ["variables.data-00000-of-00001", "variables.index"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_damaged_checkpoints_are_passed_over(tmp_path: Path, name: str, damage: str) -> None:
    model = make()
    save(model, tmp_path, 1)
    path = save(model, tmp_path, 2).folder / name
    contents = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "flip":
        path.write_bytes(contents[:9] + bytes([contents[9] ^ 1]) + contents[10:])
    else:
        path.write_bytes(contents[:-1] if damage == "truncate" else b"")
    checkpoint = checkpoints.newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    shutil.rmtree(checkpoint.folder)
    with pytest.raises(TrainingError, match=rf"(?s)all checkpoints in .*{name}"):
        checkpoints.newest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99, "files": {}}', None])
def test_damaged_sidecars_are_passed_over(tmp_path: Path, text: str | None) -> None:
    path = save(make(), tmp_path, 2).folder / "checkpoint.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=r"checkpoint\.json"):
        checkpoints.newest(tmp_path)


def test_no_space_left_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    first = save(model, tmp_path, 1)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "sync", full)
        with pytest.raises(TrainingError, match=r"step-00000002.*No space left"):
            save(model, tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]
    assert checkpoints.newest(tmp_path) == first


def test_tensorflow_write_failure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tf.raw_ops, "SaveV2", full)
        with pytest.raises(TrainingError, match="No space left"):
            save(make(), tmp_path / "run", 2)
    # An empty trace of the failed checkpoint tells a resumed run that no checkpoint was removed.
    (trace,) = (tmp_path / "run").iterdir()
    assert not trace.name.startswith("step-") and not list(trace.iterdir())
    checkpoints.clean(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_restore_names_what_differs(tmp_path: Path) -> None:
    checkpoint = save(make(), tmp_path, 1)
    with pytest.raises(TrainingError, match=r"\['dense/kernel', \[4, 3\].*only in .*\[4, 5\]"):
        restore(checkpoint, make(5))
    with pytest.raises(TrainingError, match=r"differ: \['dense/bias', .* only in"):
        restore(checkpoint, make(bias=False))
    with pytest.raises(TrainingError, match=r"vocabulary 'xyz', was 'abc'"):
        restore(checkpoint, make(), fingerprint={"vocabulary": "xyz"})


def test_reordered_trainable_variables_are_refused(tmp_path: Path) -> None:
    """The optimizer's slots are keyed by position: restoring would swap momenta silently."""
    model = make()
    checkpoint = save(model, tmp_path, 1)
    expected = describe_variables(model, model.trainable_variables[::-1])
    with pytest.raises(TrainingError, match=r"trainable differ: \[0\] dense/kernel"):
        restore(checkpoint, model, **expected)


def test_foreign_trainable_variables_are_refused() -> None:
    with pytest.raises(TrainingError, match="not in the stage's model"):
        describe_variables(make(), [keras.Variable(1.0, name="stray")])


class TestRestoreModel:
    def test_takes_weights_but_not_seeds(self, tmp_path: Path) -> None:
        model, other = make(), make()
        fill(model, 3.0)
        save(model, tmp_path / "best", 5)
        seeds = [v.numpy() for v in other.variables if "seed" in v.path]
        checkpoint = checkpoints.restore_model(other, tmp_path, {"vocabulary": "abc", "x": "1"})
        assert checkpoint.step == 5
        for variable in other.trainable_variables:
            np.testing.assert_array_equal(variable.numpy(), np.full(variable.shape, 3.0))
        np.testing.assert_array_equal(
            seeds, [v.numpy() for v in other.variables if "seed" in v.path]
        )

    def test_names_missing_and_unused_variables(self, tmp_path: Path) -> None:
        save(make(bias=False), tmp_path / "best", 5)
        with pytest.raises(TrainingError, match="missing: dense/bias"):
            checkpoints.restore_model(make(), tmp_path, {})
        save(make(), tmp_path / "best", 6)
        smaller = make(bias=False)
        with pytest.raises(TrainingError, match="not in the model: dense/bias"):
            checkpoints.restore_model(smaller, tmp_path, {})
        checkpoints.restore_model(smaller, tmp_path, {}, allow_unused=True)

    def test_nothing_changes_when_a_shape_differs(self, tmp_path: Path) -> None:
        save(make(3), tmp_path / "best", 5)
        model = make(5)
        before = [v.numpy() for v in model.variables]
        with pytest.raises(TrainingError, match=r"shape of dense/kernel: \(4, 3\).*\(4, 5\)"):
            checkpoints.restore_model(model, tmp_path, {})
        for a, b in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(a, b.numpy())

    def test_takes_a_part(self, tmp_path: Path) -> None:
        whole = keras.Sequential([make(name="inner"), keras.layers.Dense(1)], name="whole")
        whole.build((None, 4))
        fill(whole, 4.0)
        save(whole, tmp_path / "best", 1)
        part = make(name="inner")
        checkpoints.restore_model(part, tmp_path, {}, part="inner")
        for variable in part.trainable_variables:
            np.testing.assert_array_equal(variable.numpy(), np.full(variable.shape, 4.0))

    def test_refuses_another_fingerprint(self, tmp_path: Path) -> None:
        save(make(), tmp_path / "best", 5)
        with pytest.raises(TrainingError, match=r"vocabulary.*'xyz', was 'abc'"):
            checkpoints.restore_model(make(), tmp_path, {"vocabulary": "xyz"})

    def test_takes_the_best_and_else_the_latest(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="run that stage first"):
            checkpoints.restore_model(make(), tmp_path, {})
        save(make(), tmp_path / "checkpoints", 5)
        assert checkpoints.restore_model(make(), tmp_path, {}).step == 5
        save(make(), tmp_path / "best", 3)
        assert checkpoints.restore_model(make(), tmp_path, {}).step == 3

    def test_variables_allowed_to_be_new_keep_their_values(self, tmp_path: Path) -> None:
        checkpoint = save(make(), tmp_path / "best", 5)
        first = checkpoint.sidecar["variables"][0][0]
        model = make()
        values = [np.array(variable) for variable in model.variables]
        sidecar = checkpoint.folder / "checkpoint.json"
        contents = json.loads(sidecar.read_text())
        contents["variables"] = contents["variables"][1:]
        sidecar.write_text(json.dumps(contents))
        with pytest.raises(TrainingError, match=f"missing: {first}"):
            checkpoints.restore_model(model, tmp_path, {})
        checkpoints.restore_model(model, tmp_path, {}, allow_new=[first])
        np.testing.assert_array_equal(model.variables[0], values[0])


def test_sidecar_is_readable(tmp_path: Path) -> None:
    folder = save(make(), tmp_path, 1).folder
    contents = json.loads((folder / "checkpoint.json").read_text())
    assert contents["step"] == 1
    assert contents["variables"][0] == ["dense/kernel", [4, 3], "float32"]
    names = [name for name, _ in tf.train.list_variables(str(folder / "variables"))]
    assert "model/dense/kernel" in names
