from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.examples import (
    _masked_crc,
    bytes_entry,
    decode_example,
    encode_example,
    example_from_entries,
    frame_record,
    int64_entry,
    read_frames,
    varint,
)

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(
    st.lists(INT64, min_size=1),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    st.lists(st.binary(max_size=200), min_size=1),
    st.text(st.characters(blacklist_categories=["Cs"])),
)
def test_tensorflow_reads_what_we_write(
    ints: list[int], floats: list[float], blobs: list[bytes], text: str
) -> None:
    data = encode_example(
        {"ints": ints, "floats": floats, "blobs": blobs, "text": text, "one": 3, "b": b"x"}
    )
    feature = tf.train.Example.FromString(data).features.feature
    assert list(feature["ints"].int64_list.value) == ints
    assert list(feature["floats"].float_list.value) == floats
    assert list(feature["blobs"].bytes_list.value) == blobs
    assert feature["text"].bytes_list.value[0].decode() == text
    assert feature["one"].int64_list.value == [3]
    assert feature["b"].bytes_list.value == [b"x"]


def test_arrays_and_empty_arrays_in_a_batch() -> None:
    rows = [
        {"i": np.arange(3), "f": np.ones((2, 4), np.float16), "e": np.zeros(0, np.int64)},
        {"i": np.zeros(0, np.int32), "f": np.zeros((0, 4), np.float32), "e": np.array([True])},
    ]
    parsed = tf.io.parse_example(
        [encode_example(row) for row in rows],
        {
            "i": tf.io.RaggedFeature(tf.int64),
            "f": tf.io.RaggedFeature(tf.float32),
            "e": tf.io.RaggedFeature(tf.int64),
        },
    )
    assert parsed["i"].to_list() == [[0, 1, 2], []]
    assert parsed["f"].to_list() == [[1.0] * 8, []]
    assert parsed["e"].to_list() == [[], [1]]


def test_order_of_features_does_not_change_the_bytes() -> None:
    assert encode_example({"a": 1, "b": "x"}) == encode_example({"b": "x", "a": 1})


@given(st.lists(INT64), st.binary(max_size=300))
def test_entries_make_the_same_bytes(numbers: list[int], value: bytes) -> None:
    entries = [
        int64_entry("numbers", b"".join(map(varint, numbers))),
        bytes_entry("value", value),
    ]
    array = np.array(numbers, np.int64)
    assert example_from_entries(entries) == encode_example({"value": value, "numbers": array})


@pytest.mark.parametrize("value", [[], {"a": 1}, None, 1j])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="feature 'x'"):
        encode_example({"x": value})  # type: ignore[dict-item]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300)))
def test_framing_is_that_of_tensorflow(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("r") / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    assert path.read_bytes() == b"".join(map(frame_record, records))
    with path.open("rb") as stream:
        assert list(read_frames(stream, "x")) == records


@settings(deadline=None)
@given(
    st.lists(INT64), st.lists(st.floats(width=32)), st.lists(st.binary(max_size=200)), st.booleans()
)
def test_what_tensorflow_writes_is_read(
    ints: list[int], floats: list[float], blobs: list[bytes], ours: bool
) -> None:
    feature = {
        "ints": tf.train.Feature(int64_list=tf.train.Int64List(value=ints)),
        "floats": tf.train.Feature(float_list=tf.train.FloatList(value=floats)),
        "blobs": tf.train.Feature(bytes_list=tf.train.BytesList(value=blobs)),
        "none": tf.train.Feature(),
    }
    data = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    if ours:
        arrays = {"ints": np.array(ints, np.int64), "floats": np.array(floats, np.float32)}
        data = encode_example({**arrays, "blobs": blobs or np.array([], "S")})
    found = decode_example(data)
    assert found["ints"].dtype == np.int64 and found["floats"].dtype == np.float32
    assert found["ints"].tolist() == ints
    np.testing.assert_array_equal(found["floats"], np.array(floats, np.float32))
    assert found["blobs"] == blobs and not found.get("none")
    assert list(decode_example(data, {"blobs"})) == ["blobs"]


def test_unpacked_lists_are_read() -> None:
    ints, floats = b"\x08\x01\x08\xac\x02", b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40"
    entries = [
        b"\x0a\x01i\x12\x07\x1a\x05" + ints,
        b"\x0a\x01f\x12\x0c\x12\x0a" + floats,
    ]
    features = b"".join(b"\x0a" + bytes([len(entry)]) + entry for entry in entries)
    data = b"\x0a" + bytes([len(features)]) + features
    feature = tf.train.Example.FromString(data).features.feature
    assert feature["i"].int64_list.value == [1, 300] and feature["f"].float_list.value == [1, 2]
    found = decode_example(data)
    assert [found["i"].tolist(), found["f"].tolist()] == [[1, 300], [1, 2]]


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 80), st.integers(0, 255))
def test_damaged_examples_are_value_errors(noise: bytes, at: int, flip: int) -> None:
    whole = bytearray(encode_example({"ints": [1, 300, -1], "text": "abc", "f": 1.5}))
    whole[at % len(whole)] ^= flip
    for data in (noise, bytes(whole), bytes(whole[:at])):
        try:
            found = decode_example(data)
        except ValueError:
            continue
        assert all(isinstance(value, (list, np.ndarray)) for value in found.values())


def test_a_record_larger_than_memory_is_damage() -> None:
    frame = frame_record(b"")
    for size in (1 << 40, 1 << 63):
        length = size.to_bytes(8, "little")
        with pytest.raises(ValueError, match="broken record at byte 0"):
            list(read_frames(io.BytesIO(length + _masked_crc(length) + frame), "x"))


@pytest.mark.parametrize("damage", ["cut", "flip length", "flip data"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    data = bytearray(frame_record(b"hello") + frame_record(b"world"))
    if damage == "cut":
        del data[-1:]
    else:
        data[21 if damage == "flip length" else 34] ^= 1
    with pytest.raises(ValueError, match="at byte 21"):
        list(read_frames(io.BytesIO(bytes(data)), str(tmp_path)))
