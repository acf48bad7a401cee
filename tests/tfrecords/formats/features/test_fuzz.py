"""Whatever is in a store of arrays, its reader gives arrays or says which file is wrong."""

from __future__ import annotations

from pathlib import Path

import feature_layouts as layouts
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store

REGIONS = {str(i): np.full((i % 4 + 1, 6), i, np.float32) for i in range(12)}
LARGE = {"large": np.ones((300, 6), np.float32)}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    with h5py.File(folder / "x.h5", "w") as file:
        for key, array in REGIONS.items():
            packed = {"chunks": (1, 3), "compression": "gzip"} if int(key) % 2 else {}
            file.create_dataset(key, data=array, **packed)
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(folder / "x.lmdb"), map_size=1 << 20, subdir=False) as environment:
        for number in range(20):
            for key, array in {**REGIONS, **LARGE}.items():
                np.save(folder / "array.npy", array)
                with environment.begin(write=True) as transaction:
                    transaction.put(f"{key}-{number}".encode(), (folder / "array.npy").read_bytes())
    return {kind: (folder / f"x.{kind}").read_bytes() for kind in ("h5", "lmdb")}


def read_all(kind: str, path: Path) -> int:
    """Returns the number of readable arrays; every error must name the file."""
    try:
        store = open_feature_store(f"{kind}:{path}")
        names = store.keys()
    except InputError as error:
        assert str(path) in str(error)
        return 0
    read = 0
    for name in names:
        try:
            found = store.get(name)
        except InputError as error:
            assert str(path) in str(error)
        else:
            for kind in store.shapes if found is not None else ():
                assert np.isfinite(getattr(found, kind)).all()
            read += 1
    return read


@pytest.mark.parametrize(("kind", "arrays"), [("h5", 12), ("lmdb", 260)])
def test_nothing_damaged(
    contents: dict[str, bytes], kind: str, arrays: int, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(contents[kind])
    assert read_all(kind, tmp_path / "x") == arrays


@pytest.mark.parametrize("kind", ["h5", "lmdb"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_stores(
    contents: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    data: st.DataObject,
) -> None:
    damaged = bytearray(contents[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        # What leads to the arrays stands at the beginning of each page.
        page = data.draw(st.integers(0, (len(damaged) - 1) // 4096)) * 4096
        place = page + data.draw(st.integers(0, 160) | st.integers(0, 4095))
        if place < len(damaged):
            damaged[place] = data.draw(st.sampled_from([0, 1, 128, 255]) | st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(damaged)))
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(damaged[:cut])
    read_all(kind, path)


@pytest.fixture(scope="module")
def layout_contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("layouts")
    return {
        name: layout(folder / f"{name}.h5").read_bytes() for name, layout in layouts.LAYOUTS.items()
    }


@settings(max_examples=120, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_layouts(
    layout_contents: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    damaged = bytearray(layout_contents[data.draw(st.sampled_from(list(layouts.LAYOUTS)))])
    for _ in range(data.draw(st.integers(1, 5))):
        # Names, links and shapes stand near the beginning and after the first arrays.
        place = data.draw(st.integers(0, 2047) | st.integers(0, len(damaged) - 1))
        if place < len(damaged):
            damaged[place] = data.draw(st.sampled_from([0, 1, 128, 255]) | st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(damaged)))
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(damaged[:cut])
    read_all("h5", path)


def test_chunks_of_another_shape(tmp_path: Path) -> None:
    """The library takes minutes and gigabytes for a damaged file of this kind."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["first"] = np.ones((2, 6), np.float32)
        file.create_dataset("many", (1 << 22, 1), np.float32, chunks=(1, 1))
    with pytest.raises(InputError, match=r"x\.h5, image 'many'.* in chunks of \(1, 1\)"):
        open_feature_store(str(tmp_path / "x.h5")).get("many")


def test_rows_of_an_impossible_length(tmp_path: Path) -> None:
    """The library makes room for gigabytes before it finds that they are not there."""
    path = layouts.nocaps(tmp_path / "x.h5")
    with h5py.File(path) as file:
        offset = file["features"].id.get_offset()
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 4] = (0x3FFFFFFF).to_bytes(4, "little")
    path.write_bytes(damaged)
    with pytest.raises(
        InputError, match=r"features of image '1' \(row 0\) cannot be read: .*memory"
    ):
        open_feature_store(str(path))


def test_pages_in_a_circle(contents: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(contents["lmdb"])
    kind, page = None, 0
    while kind != 1:  # a branch
        page += 1
        kind = int.from_bytes(data[4096 * page + 10 : 4096 * page + 12], "little")
    start = 4096 * page
    for place in (16, 18):  # its first two nodes lead to itself
        node = start + int.from_bytes(data[start + place : start + place + 2], "little")
        data[node : node + 6] = page.to_bytes(6, "little")
    (tmp_path / "x.lmdb").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.lmdb as an LMDB: page \d+ "):
        open_feature_store(str(tmp_path / "x.lmdb"))
