"""Run folders: located by stage or by experiment, read and verified once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r2m.inference.run_folder import RunFolder, run_names
from tfrecords.core.errors import InputError


def make_run(folder: Path, stage: str, *, saved: bool = True) -> Path:
    (folder / stage).mkdir(parents=True)
    (folder / stage / "config.json").write_text(json.dumps({"stage": stage, "config": {}}))
    if saved:
        (folder / stage / "checkpoints" / "step-00000001").mkdir(parents=True)
    return folder / stage


def test_an_experiment_is_its_last_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for stage in ("tri", "xe_rec", "xe"):
        make_run(tmp_path / "shapes", stage)
    with caplog.at_level("INFO", logger="absl"):
        assert RunFolder(tmp_path / "shapes").stage == "tri"
    assert f"{tmp_path}/shapes: using its last stage, tri" in caplog.text
    assert RunFolder(tmp_path / "shapes" / "xe").stage == "xe"
    # A stage with a checkpoint takes precedence over a later one without.
    make_run(tmp_path / "shapes", "tri_rec", saved=False)
    assert RunFolder(tmp_path / "shapes").name == "shapes/tri"
    make_run(tmp_path / "updown", "cross_entropy", saved=False)
    assert RunFolder(tmp_path / "updown").stage == "cross_entropy"
    names = run_names([RunFolder(tmp_path / name) for name in ("shapes/xe", "updown")])
    assert names == "shapes/xe, updown/cross_entropy"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected something like workspace/runs/"):
        RunFolder(tmp_path)
    version = tmp_path / "exported" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    for export in (version.parent, version):
        with pytest.raises(
            InputError, match=rf"^{export} is an exported model, a value for --model"
        ):
            RunFolder(export)
    runs = [make_run(tmp_path / "a", stage) for stage in ("cross_entropy", "xe")]
    listed = " or ".join(map(str, runs))
    # Stages of two kinds of runs do not follow each other.
    for folder in (tmp_path / "a", tmp_path):
        with pytest.raises(InputError, match=rf"^{folder} is not .*did you mean {listed}\?"):
            RunFolder(folder)
    for text in ('{"model": "a preset"}', "[]", '{"stage": "xe"'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"is not the config\.json of a run"):
            RunFolder(tmp_path)
