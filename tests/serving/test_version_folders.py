"""Versions of exported models are published atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from r2m.serving.version_folders import model_name, new_version, versions_of
from tfrecords.core.errors import InputError


def write(folder: Path) -> int:
    with new_version(folder) as (number, temporary):
        assert not (folder / str(number)).exists()
        (temporary / "file").write_text("content")
    assert (folder / str(number) / "file").read_text() == "content"
    return number


def test_versions_are_numbered_on(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "own"
    assert versions_of(folder) == []
    assert [write(folder), write(folder)] == [1, 2]
    (folder / "41").mkdir()
    (folder / "notes").mkdir()
    assert write(folder) == 42
    assert versions_of(folder) == [1, 2, 41, 42]


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1").mkdir()  # left by a killed process
    with pytest.raises(RuntimeError), new_version(tmp_path) as (_, temporary):
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert write(tmp_path) == 1


def test_a_folder_that_is_in_use_or_no_folder_of_versions_is_refused(tmp_path: Path) -> None:
    with (
        new_version(tmp_path),
        pytest.raises(InputError, match="another process exports"),
        new_version(tmp_path),
    ):
        pass
    saved = tmp_path / "1"
    (saved / "saved_model.pb").touch()
    with pytest.raises(InputError, match="is a SavedModel itself"), new_version(saved):
        pass


def test_a_model_is_called_as_its_folder_however_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "own" / "1"
    version.mkdir(parents=True)
    monkeypatch.chdir(version)
    for folder in ("..", "../", "../../own", str(tmp_path / "own"), "../1/.."):
        assert model_name(Path(folder)) == "own"
    assert model_name(Path()) == "1"
