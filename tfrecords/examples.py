"""`tf.train.Example` and TFRecord framing without TensorFlow.

Importing TensorFlow takes seconds and hundreds of megabytes in every worker process, and building
protocol buffer objects is most of the time of writing a small record. The two formats are fixed and
simple, so the bytes are made here; the tests parse them with TensorFlow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from mmap import mmap
from typing import BinaryIO

import google_crc32c
import numpy as np

FeatureValue = bytes | str | int | float | np.ndarray | Sequence[bytes | str | int | float]
Buffer = bytes | mmap

# Varints made once: ids of any vocabulary in use, and the sizes of small records.
_CACHED = 1 << 16


def varint(number: int) -> bytes:
    """A protocol buffer varint; negative numbers take ten bytes, as int64 does."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_VARINTS = [varint(i) for i in range(_CACHED)]


def _delimited(tag: bytes, data: bytes) -> bytes:
    size = len(data)
    return tag + (_VARINTS[size] if size < _CACHED else varint(size)) + data


def int64_feature(numbers: Iterable[int]) -> bytes:
    """A serialised `tf.train.Feature` with an int64 list (packed)."""
    numbers = numbers if isinstance(numbers, list) else list(numbers)
    if not numbers:
        return b"\x1a\x00"
    if min(numbers) >= 0 and max(numbers) < _CACHED:
        packed = b"".join(map(_VARINTS.__getitem__, numbers))
    else:
        packed = b"".join(map(varint, numbers))
    return _delimited(b"\x1a", _delimited(b"\x0a", packed))


def float_feature(numbers: np.ndarray | Iterable[float]) -> bytes:
    """A serialised `tf.train.Feature` with a float32 list (packed); arrays are flattened."""
    if not isinstance(numbers, np.ndarray):
        numbers = np.array(list(numbers), np.float32)
    packed = np.ascontiguousarray(numbers, dtype="<f4").tobytes()
    return _delimited(b"\x12", _delimited(b"\x0a", packed) if packed else b"")


def bytes_feature(values: Iterable[bytes | str]) -> bytes:
    """A serialised `tf.train.Feature` with a list of byte strings; text is encoded as UTF-8."""
    parts = [v.encode() if isinstance(v, str) else v for v in values]
    return _delimited(b"\x0a", b"".join([_delimited(b"\x0a", part) for part in parts]))


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return _delimited(b"\x0a", name.encode())


def example_from_features(features: Mapping[str, bytes]) -> bytes:
    """A serialised `tf.train.Example` of features made by the three functions above."""
    # Sorted: the bytes of a record must not depend on the order in which a dict was filled.
    entries = [
        _delimited(b"\x0a", _name(name) + _delimited(b"\x12", feature))
        for name, feature in sorted(features.items())
    ]
    return _delimited(b"\x0a", b"".join(entries))


def encode_example(values: Mapping[str, FeatureValue]) -> bytes:
    """A serialised `tf.train.Example` from plain Python and NumPy values.

    Args:
        values: feature name -> bytes or str (one value), a number, a list of one kind of these, or
            an array of integers, booleans or floats of any shape (flattened). An empty *list* has
            no kind of its own: give an empty array of the right dtype instead.

    Raises:
        TypeError: a value that is none of these, or an empty list.
    """
    return example_from_features({name: _feature(name, value) for name, value in values.items()})


def _feature(name: str, value: FeatureValue) -> bytes:
    if isinstance(value, (bytes, str)):
        return bytes_feature([value])
    if isinstance(value, (list, tuple)):
        if not value:
            raise TypeError(f"feature {name!r}: an empty list has no kind; use an empty array")
        if all(isinstance(item, (bytes, str)) for item in value):
            return bytes_feature(value)
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        return int64_feature(array.reshape(-1).tolist())
    if array.dtype.kind == "f":
        return float_feature(array)
    if array.dtype.kind in "SUO" and array.size == 0:
        return bytes_feature([])
    raise TypeError(f"feature {name!r}: cannot be stored: {type(value).__name__} ({array.dtype})")


def _masked_crc(data: bytes) -> bytes:
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def frame_record(record: bytes) -> bytes:
    """The bytes of one record in a TFRecord file: length, crc, record, crc."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_crc(length), record, _masked_crc(record)))


def read_frames(stream: BinaryIO, where: str) -> Iterable[bytes]:
    """The records of an open TFRecord file, every checksum verified.

    Raises:
        ValueError: a checksum is wrong or the file ends inside a record; names `where` and offset.
    """
    offset = 0
    while header := stream.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise ValueError(f"{where}: broken record header at byte {offset}")
        size = struct.unpack("<Q", header[:8])[0]
        record, crc = stream.read(size), stream.read(4)
        if len(record) < size or _masked_crc(record) != crc:
            raise ValueError(f"{where}: broken record at byte {offset}")
        offset += 16 + size
        yield record


def read_frame(buffer: Buffer, offset: int, where: str) -> bytes:
    """The record that begins at a byte of a TFRecord file, its checksum verified.

    Raises:
        ValueError: there is no whole record; names `where` and offset.
    """
    start, end = frame_span(buffer, offset, where)
    record = bytes(buffer[start:end])
    if _masked_crc(record) != bytes(buffer[end : end + 4]):
        raise ValueError(f"{where}: broken record at byte {offset}")
    return record


def frame_span(buffer: Buffer, offset: int, where: str) -> tuple[int, int]:
    """Where the record lies whose frame begins at `offset`; the next frame begins 4 bytes on.

    Raises:
        ValueError: there is no whole frame; names `where` and offset.
    """
    header = bytes(buffer[offset : offset + 12])
    if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
        raise ValueError(f"{where}: broken record header at byte {offset}")
    start = offset + 12
    end: int = start + struct.unpack("<Q", header[:8])[0]
    if end + 4 > len(buffer):
        raise ValueError(f"{where}: broken record at byte {offset}")
    return start, end


def feature_spans(buffer: Buffer, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Where the features of an Example of this module lie, without reading their values.

    Args:
        buffer: that holds it.
        start: of the serialised Example in it.
        end: likewise.

    Yields:
        Name, and the span of the serialised `tf.train.Feature`, in the order of the record.
    """
    start, _ = _span(buffer, start, end)
    while start < end:
        entry, start = _span(buffer, start, end)
        name, value = _span(buffer, entry, start)
        inner, _ = _span(buffer, value, start)
        yield bytes(buffer[name:value]).decode(), inner, start


def feature_value(feature: bytes) -> list[bytes] | np.ndarray:
    """The values of a serialised `tf.train.Feature` of this module: bytes, int64 or float32."""
    end = len(feature)
    start, _ = _span(feature, 0, end)
    if feature[0] == 0x0A:
        values = []
        while start < end:
            inside, start = _span(feature, start, end)
            values.append(feature[inside:start])
        return values
    if start < end:
        start, _ = _span(feature, start, end)
    if feature[0] == 0x12:
        return np.frombuffer(feature, "<f4", offset=start)
    numbers = []
    while start < end:
        number, start = _read_varint(feature, start)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    return np.array(numbers, np.int64)


def _span(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    """Start and end of the length-delimited field at a position."""
    size, start = _read_varint(buffer, position + 1)
    if start + size > end:
        raise ValueError(f"a field of {size} bytes at byte {position}, of {end}")
    return start, start + size


def _read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = buffer[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
