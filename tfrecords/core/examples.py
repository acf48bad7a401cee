"""`tf.train.Example` and TFRecord framing without TensorFlow.

Importing TensorFlow takes seconds and hundreds of megabytes in every worker process, and building
protocol buffer objects takes most of the time of writing a small record. The two formats are fixed
and simple, so this module encodes the bytes directly; the tests parse them with TensorFlow.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from mmap import mmap
from typing import BinaryIO

import google_crc32c
import numpy as np

FeatureValue = bytes | str | int | float | np.ndarray | Sequence[bytes | str | int | float]
Buffer = bytes | mmap

# Precomputed varints: ids of any vocabulary in use, and the sizes of small records.
_CACHED = 1 << 16


def varint(number: int) -> bytes:
    """Encodes a protocol buffer varint; negative numbers take ten bytes, as in int64."""
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
    """Serializes a `tf.train.Feature` with an int64 list (packed)."""
    numbers = numbers if isinstance(numbers, list) else list(numbers)
    if not numbers:
        return b"\x1a\x00"
    if min(numbers) >= 0 and max(numbers) < _CACHED:
        packed = b"".join(map(_VARINTS.__getitem__, numbers))
    else:
        packed = b"".join(map(varint, numbers))
    return _delimited(b"\x1a", _delimited(b"\x0a", packed))


def float_feature(numbers: np.ndarray | Iterable[float]) -> bytes:
    """Serializes a `tf.train.Feature` with a float32 list (packed); arrays are flattened."""
    if not isinstance(numbers, np.ndarray):
        numbers = np.array(list(numbers), np.float32)
    packed = np.ascontiguousarray(numbers, dtype="<f4").tobytes()
    return _delimited(b"\x12", _delimited(b"\x0a", packed) if packed else b"")


def bytes_feature(values: Iterable[bytes | str]) -> bytes:
    """Serializes a `tf.train.Feature` with a list of byte strings; text is encoded as UTF-8."""
    parts = [v.encode() if isinstance(v, str) else v for v in values]
    return _delimited(b"\x0a", b"".join([_delimited(b"\x0a", part) for part in parts]))


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return _delimited(b"\x0a", name.encode())


def example_from_features(features: Mapping[str, bytes]) -> bytes:
    """Serializes a `tf.train.Example` of features from the three functions above."""
    # Sorted, because the bytes of a record must not depend on the order of a dict.
    return example_from_entries([_entry(name, features[name]) for name in sorted(features)])


def _entry(name: str, feature: bytes) -> bytes:
    return _delimited(b"\x0a", _name(name) + _delimited(b"\x12", feature))


def int64_entry(name: str, varints: bytes) -> bytes:
    """Encodes a named `int64_feature` of given varints, for `example_from_entries`."""
    return (
        _entry_head(name, b"\x1a", len(varints)) + varints if varints else _entry(name, b"\x1a\0")
    )


def bytes_entry(name: str, value: bytes) -> bytes:
    """Encodes a named `bytes_feature` of one value, for `example_from_entries`."""
    return _entry_head(name, b"\x0a", len(value)) + value


@lru_cache(maxsize=1 << 14)
def _entry_head(name: str, kind: bytes, size: int) -> bytes:
    """Returns the bytes before the content of an entry, with lengths for a content of `size`."""
    entry = _entry(name, _delimited(kind, _delimited(b"\x0a", bytes(size))))
    return entry[: len(entry) - size]


def example_from_entries(entries: Iterable[bytes]) -> bytes:
    """Serializes a `tf.train.Example` of entries (or joined entries), sorted by their names.

    Twice as fast as `example_from_features`, for many small records.
    """
    return _delimited(b"\x0a", b"".join(entries))


def encode_example(values: Mapping[str, FeatureValue]) -> bytes:
    """Serializes a `tf.train.Example` of plain Python and NumPy values.

    Args:
        values: feature name -> bytes or str (one value), a number, a list of one of these kinds, or
            an array of integers, booleans or floats of any shape (flattened). An empty *list* has
            no kind: give an empty array of the right dtype instead.

    Raises:
        TypeError: a value has another type, or is an empty list.
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
    """Encodes one record of a TFRecord file: length, crc, record, crc."""
    return b"".join((_frame_head(len(record)), record, _masked_crc(record)))


@lru_cache(maxsize=1 << 12)
def _frame_head(size: int) -> bytes:
    length = struct.pack("<Q", size)
    return length + _masked_crc(length)


def read_frames(stream: BinaryIO, where: str) -> Iterable[bytes]:
    """Yields the records of an open TFRecord file and verifies every checksum.

    Raises:
        ValueError: a checksum is wrong or the file ends inside a record; names `where` and offset.
    """
    offset = 0
    while header := stream.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise ValueError(f"{where}: broken record header at byte {offset}")
        size = struct.unpack("<Q", header[:8])[0]
        try:
            record, crc = stream.read(size), stream.read(4)
        except (MemoryError, OverflowError):
            record, crc = b"", b""
        if len(record) < size or _masked_crc(record) != crc:
            raise ValueError(f"{where}: broken record at byte {offset}")
        offset += 16 + size
        yield record


def read_frame(buffer: Buffer, offset: int, where: str) -> bytes:
    """Reads the record at a byte offset of a TFRecord file and verifies its checksum.

    Raises:
        ValueError: the record is incomplete or damaged; names `where` and offset.
    """
    start, end = frame_span(buffer, offset, where)
    record = bytes(buffer[start:end])
    if _masked_crc(record) != bytes(buffer[end : end + 4]):
        raise ValueError(f"{where}: broken record at byte {offset}")
    return record


def frame_span(buffer: Buffer, offset: int, where: str) -> tuple[int, int]:
    """Returns the span of a frame's record; the next frame begins 4 bytes after its end.

    Raises:
        ValueError: the frame is incomplete or damaged; names `where` and offset.
    """
    header = bytes(buffer[offset : offset + 12])
    if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
        raise ValueError(f"{where}: broken record header at byte {offset}")
    start = offset + 12
    end: int = start + struct.unpack("<Q", header[:8])[0]
    if end + 4 > len(buffer):
        raise ValueError(f"{where}: broken record at byte {offset}")
    return start, end


def decode_example(
    record: bytes, names: Container[str] | None = None
) -> dict[str, list[bytes] | np.ndarray]:
    """Decodes the features of a serialized `tf.train.Example`.

    Args:
        record: its bytes, from any writer: packed or not, known fields in any order.
        names: the features to decode; None decodes all.

    Returns:
        Mapping from feature name to a list of bytes, int64 [N] or float32 [N]. A feature without a
        kind (an empty `Feature`) becomes an empty list of bytes.

    Raises:
        ValueError: the record is not an Example, or truncated.
    """
    found: dict[str, list[bytes] | np.ndarray] = {}
    for features in _messages(record, 1):
        for entry in _messages(features, 1):
            name = b"".join(_messages(entry, 1)).decode()
            if names is None or name in names:
                found[name] = _decode_feature(b"".join(_messages(entry, 2)))
    return found


def find_feature(buffer: Buffer, start: int, end: int, name: str) -> list[bytes] | np.ndarray:
    """Decodes one feature of an Example of this module, without decoding those before it.

    Args:
        buffer: contains the serialized Example.
        start: start of the Example.
        end: end of the Example.
        name: name of the feature.

    Raises:
        ValueError: the Example has no such feature, or is truncated.
    """
    at, _ = _span(buffer, start, end)
    while at < end:
        entry, at = _span(buffer, at, end)
        key, value = _span(buffer, entry, at)
        if bytes(buffer[key:value]) == name.encode():
            return _decode_feature(bytes(buffer[slice(*_span(buffer, value, at))]))
    raise ValueError(f"an Example without {name}")


def _span(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """Returns start and end of the bytes of a field with a one-byte tag."""
    size, start = _read_varint(buffer, at + 1)
    if start + size > end:
        raise ValueError(f"a field of {size} bytes where {end - start} are left")
    return start, start + size


def _decode_feature(feature: bytes) -> list[bytes] | np.ndarray:
    value: list[bytes] | np.ndarray = []
    for field, content in _fields(feature):
        if not isinstance(content, bytes):
            raise ValueError("a feature that is not a list")
        if field == 1:
            value = list(_messages(content, 1))
        elif field == 2:
            packed = b"".join(_messages(content, 1))
            if len(packed) % 4:
                raise ValueError("a list of floats is cut short")
            value = np.frombuffer(packed, "<f4").astype(np.float32)
        elif field == 3:
            numbers = [
                _unpack_varints(item) if isinstance(item, bytes) else np.array([item], np.uint64)
                for number, item in _fields(content)
                if number == 1
            ]
            value = np.concatenate([np.zeros(0, np.uint64), *numbers]).view(np.int64)
    return value


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    """Yields the contents of a field of bytes, or of 4-byte numbers."""
    for field, content in _fields(data):
        if field == wanted:
            if not isinstance(content, bytes):
                raise ValueError(f"field {field} is a number, expected bytes")
            yield content


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields the fields of a message: (number, an integer or bytes)."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            number, at = _read_varint(data, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of unknown kind {kind}")
        if at + size > len(data):
            raise ValueError(f"a field of {size} bytes where {len(data) - at} are left")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: Buffer, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut short")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number & (1 << 64) - 1, at
        shift += 7


def _unpack_varints(packed: bytes) -> np.ndarray:
    """Decodes packed varints to uint64 [N], vectorized."""
    data = np.frombuffer(packed, np.uint8).astype(np.uint64)
    last = data < 0x80
    if not len(data) or last.all():
        return data
    if not last[-1]:
        raise ValueError("a list of numbers is cut short")
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1])
    if (ends - begins).max() > 9:
        raise ValueError("a number of more than ten bytes")
    places = np.arange(len(data)) - np.repeat(begins, ends - begins + 1)
    return np.bitwise_or.reduceat((data & 0x7F) << (7 * places).astype(np.uint64), begins)
