"""Run folders reject the files of other runs, and name the differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from r2m.tasks.run_start import RunFile, copy_into_run
from tfrecords.core.errors import InputError


def kept(text: str) -> RunFile:
    return RunFile(text.encode(), Path("records/shapes"))


def test_differing_settings_are_shown(tmp_path: Path) -> None:
    copy_into_run(
        tmp_path, {"features.json": kept('{"features": ["global"], "inputs": [1024, 1024]}')}
    )
    other = kept('{"features": ["grid"], "inputs": [16, 1024, 1024]}')
    shown = (
        r'records/shapes \(features \["grid"\], was \["global"\]\)\. Resume with the original rec'
    )
    with pytest.raises(InputError, match=shown):
        copy_into_run(tmp_path, {"features.json": other})


def test_files_that_are_no_objects_are_named_only(tmp_path: Path) -> None:
    copy_into_run(tmp_path, {"vocabulary.txt": kept("a")})
    with pytest.raises(InputError, match=r"its vocabulary\.txt differs .* records/shapes\. Resume"):
        copy_into_run(tmp_path, {"vocabulary.txt": kept("b")})
