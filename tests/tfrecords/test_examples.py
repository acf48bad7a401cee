from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.examples import encode_example, frame_record, read_frames

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


@pytest.mark.parametrize("damage", ["cut", "flip length", "flip data"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    data = bytearray(frame_record(b"hello") + frame_record(b"world"))
    if damage == "cut":
        del data[-1:]
    else:
        data[21 if damage == "flip length" else 34] ^= 1
    with pytest.raises(ValueError, match="at byte 21"):
        list(read_frames(io.BytesIO(bytes(data)), str(tmp_path)))
