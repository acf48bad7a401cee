"""Arrays that somebody else wrote."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.features import arrays
from tfrecords.formats.features.arrays import read_array, read_array_file

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7


def npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def test_npy_and_npz(tmp_path):
    for data in (
        npy(ARRAY),
        npy(np.asfortranarray(ARRAY)),
        npy(ARRAY.astype(">f4")),
        npy(ARRAY.astype(np.float64)),
        npz(feat=ARRAY),
        npz(z=ARRAY, other=ARRAY[:1]),
        npz(anything=ARRAY),
    ):
        found = read_array(data, "x")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, ARRAY, rtol=1e-6)
    assert read_array(npy(ARRAY.astype(np.float16)), "x").dtype == np.float16
    assert read_array(npy(np.arange(3)), "x").tolist() == [0, 1, 2]
    assert read_array_file(tmp_path / "nowhere.npy") is None


def with_header(shape: str, descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


BAD = {
    "nothing": (b"", "expected a .npy or .npz file"),
    "text": (b"0.5 0.25", "begins with b'0.5 0.25'"),
    "cut header": (npy(ARRAY)[:20], "cannot be read as an array"),
    "cut": (npy(ARRAY)[:-1], r"requires 96 bytes, found 95"),
    "huge": (with_header("(1000000, 1000000)"), "requires 4000000000000 bytes, found 64"),
    "negative": (with_header("(-1, 4)"), "cannot be read as an array"),
    "no shape": (with_header("'x'"), "cannot be read as an array"),
    "deep": (with_header("(" * 5000), "cannot be read as an array"),
    "objects": (npy(np.array([{}, 1], object), allow_pickle=True), "Python objects"),
    "words": (npy(np.array(["dog"])), "contains <U3, expected numbers"),
    "complex": (npy(ARRAY.astype(complex)), "expected numbers"),
    "records": (npy(np.zeros(3, [("a", "f4")])), "expected numbers"),
    "nan": (npy(np.array([1, np.nan])), "not finite in float32"),
    "overflow": (npy(np.array([1e300])), "not finite in float32"),
    "cut zip": (npz(feat=ARRAY)[:-30], "cannot be read as an array"),
    "two": (npz(a=ARRAY, b=ARRAY), "contains a.npy, b.npy, expected `feat`"),
    "empty zip": (npz(), "contains nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_array_of_numbers(name):
    data, message = BAD[name]
    with pytest.raises(InputError, match=f"^the file .*{message}"):
        read_array(data, "the file")


def test_archives_that_unpack_to_too_much(monkeypatch):
    bomb = npz(feat=np.zeros(100_000))
    monkeypatch.setattr(arrays, "MOST_BYTES", 700_000)
    assert len(bomb) < 2000
    with pytest.raises(InputError, match="unpacks to more than 700000 bytes"):
        read_array(bomb, "x")
    with pytest.raises(InputError, match="larger than the 700000 bytes"):
        read_array(npy(np.zeros(100_000)), "x")


class Runs:
    ran = False

    def __reduce__(self):
        return setattr, (Runs, "ran", True)


def test_no_pickle_is_ever_loaded():
    data = npy(np.array([Runs()], object), allow_pickle=True)
    for attack in (data, pickle.dumps(Runs()), npz(feat=np.array([Runs()], object))):
        with pytest.raises(InputError):
            read_array(attack, "x")
    assert not Runs.ran


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_an_input_error(data):
    whole = bytearray(data.draw(st.sampled_from([npy(ARRAY), npz(feat=ARRAY)])))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=5)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    try:
        found = read_array(bytes(whole[:cut]), "x")
    except InputError:
        return
    assert np.isfinite(found).all()
