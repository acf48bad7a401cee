"""Files of torch.save are read as data, without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import write_torch

from tfrecords.core.errors import InputError
from tfrecords.core.torch_file import load_torch

WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "fc.weight": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "steps": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
}
both_layouts = pytest.mark.parametrize("legacy", [False, True])


@both_layouts
def test_tensors_in_any_order_of_their_dimensions(tmp_path: Path, legacy: bool) -> None:
    found = load_torch(write_torch(tmp_path / "w.pth", WEIGHTS, legacy=legacy))
    assert list(found) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert found[name].dtype == array.dtype
        assert not (array.size and found[name].flags.writeable)
        np.testing.assert_array_equal(found[name], array)


@both_layouts
def test_files_that_run_code_are_refused(tmp_path: Path, legacy: bool) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return os.system, ("false",)

    path = write_torch(tmp_path / "w.pth", {**WEIGHTS, "more": Command()}, legacy=legacy)
    with pytest.raises(InputError, match=r"w\.pth cannot be loaded: it requires posix\."):
        load_torch(path)


@both_layouts
def test_files_cut_short_are_refused(tmp_path: Path, legacy: bool) -> None:
    path = write_torch(tmp_path / "w.pth", WEIGHTS, legacy=legacy)
    whole = path.read_bytes()
    for size in (len(whole) - 4, len(whole) // 2, 20, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"w\.pth"):
            load_torch(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.broadcast_to(np.float32(1), (1 << 30, 1 << 10)), "repeats elements of its storage"),
        (np.lib.stride_tricks.as_strided(np.zeros(2, "f"), (2, 9), (4, 8)), "cut short"),
    ],
)
def test_tensors_larger_than_their_storage_are_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    path = write_torch(tmp_path / "w.pth", {"x": array}, storage=np.zeros(2, np.float32))
    with pytest.raises(InputError, match=message):
        load_torch(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_torch(tmp_path / "w.pth")
