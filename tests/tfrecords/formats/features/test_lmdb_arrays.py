"""LMDBs that are damaged or reached in several ways, and a missing package."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.lmdb_arrays import LmdbArrays
from tfrecords.formats.features.opening import open_feature_store

lmdb = pytest.importorskip("lmdb")
# Values of several pages each, which come last in the file.
LARGE = {str(key): np.full((300, 6), key, np.float32) for key in range(4)}


def write(path: Path) -> Path:
    with lmdb.open(str(path), map_size=1 << 20, subdir=False) as environment:
        for key, array in LARGE.items():
            stream = io.BytesIO()
            np.save(stream, array)
            with environment.begin(write=True) as transaction:
                transaction.put(key.encode(), stream.getvalue())
    return path


def test_files_cut_at_every_page(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.lmdb").read_bytes()
    for size in (*range(0, len(whole), 4096), len(whole) - 1):
        cut = tmp_path / f"{size}.lmdb"
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match=rf"cannot read .*{size}\.lmdb as an LMDB: "):
            open_feature_store(str(cut))
        with pytest.raises(InputError, match=r"as an LMDB: (?!.*already open)"):
            open_feature_store(str(cut))


def test_values_replaced_by_smaller_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.lmdb"
    with (
        lmdb.open(str(path), map_size=1 << 20, subdir=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for size in (30000, 10000, 0):
            transaction.put(b"1", b"x" * size)
            transaction.put(b"2", b"y" * (size + 5000))
    arrays = LmdbArrays(path)
    assert {key: len(arrays.value(key)) for key in ("1", "2")} == {"1": 0, "2": 5000}


def test_a_length_beyond_the_file(tmp_path: Path) -> None:
    """The library would read past the end of the file, which ends the process."""
    path = write(tmp_path / "x.lmdb")
    size = len(LmdbArrays(path).value("0")).to_bytes(4, "little")
    data = path.read_bytes().replace(size, (1 << 30).to_bytes(4, "little"))
    (tmp_path / "y.lmdb").write_bytes(data)
    with pytest.raises(InputError, match=r"y\.lmdb as an LMDB: .*is the file damaged\?"):
        open_feature_store(str(tmp_path / "y.lmdb"))


def test_one_file_under_two_names_in_threads(tmp_path: Path) -> None:
    path = write(tmp_path / "x.lmdb")
    (tmp_path / "y.lmdb").symlink_to(path)
    stores = [LmdbArrays(path), LmdbArrays(tmp_path / "y.lmdb")] * 8
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda store: store.get("3"), stores))
    for array in found:
        np.testing.assert_array_equal(array, LARGE["3"])
    assert [file.name for file in tmp_path.iterdir() if "lock" in file.name] == ["x.lmdb-lock"]


def test_nothing_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "x.lmdb")
    (tmp_path / "x.lmdb-lock").unlink()
    before = path.read_bytes()
    assert open_feature_store(str(path)).keys() == list(LARGE)
    assert [file.name for file in tmp_path.iterdir()] == ["x.lmdb"] and path.read_bytes() == before


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.lmdb")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"x\.lmdb: .*lmdb.*pip install 'r2m\[lmdb\]'"):
        open_feature_store(str(path))
