"""Unusable output folders are rejected before the work starts, with a clear message."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from r2m.evaluation.output_files import prepare_output, write_whole
from tfrecords.core import files
from tfrecords.core.errors import InputError


def test_a_usable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = prepare_output(tmp_path / "a/b")
    assert folder.is_dir() and not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot make the folder /proc/x: .*; give another path"):
        prepare_output("/proc/x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        prepare_output(tmp_path / "file")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_the_folder_is_named_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises((InputError, OSError)) as caught:
        prepare_output(tmp_path)
    with pytest.raises((InputError, OSError)) as later:
        write_whole(tmp_path / "captions.json", "[]")
    if code == errno.EROFS:
        assert isinstance(caught.value, OSError) and caught.value.filename == str(tmp_path)
        assert isinstance(later.value, OSError)
        assert later.value.filename == str(tmp_path / "captions.json")
    else:
        message = str(caught.value)
        # Unlike builds, results are not resumed.
        assert message.startswith(f"no space left for {tmp_path}") and "is kept" not in message


def test_a_temporary_file_that_cannot_be_removed_hides_no_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        files.write_atomically(tmp_path / "gone/file", b"")
    assert caught.value.filename == str(tmp_path / "gone/file")
