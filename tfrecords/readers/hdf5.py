"""Reader of data sets of untrusted HDF5 files, which are checked before values are read.

The HDF5 library trusts the metadata of a file. A data set may be stored in another file, and a
damaged one may declare chunks that take minutes and gigabytes to read.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from tfrecords.readers.safe_pickle import bounded_memory

_MOST_CHUNKS = 1 << 20


def read_values(group: h5py.Group, name: str, most_bytes: int) -> np.ndarray:
    """Reads all values of a data set.

    Args:
        group: the group of the data set.
        name: name of the data set.
        most_bytes: limit for the size of the data set.

    Raises:
        ValueError: the name is no data set, is stored in another file, or is too large.
        Exception: the file is damaged; the library raises many kinds.
    """
    item = _dataset(group, name)
    _check_extent(item, item.shape, most_bytes)
    return _values(item, (), most_bytes)


def read_rows(group: h5py.Group, name: str, begin: int, end: int, most_bytes: int) -> np.ndarray:
    """Reads some rows of a data set.

    Args:
        group: the group of the data set.
        name: name of the data set: [M, ...], or [M] with rows of various lengths.
        begin: the first row.
        end: the row after the last one.
        most_bytes: limit for the bytes that are read.

    Returns:
        [end - begin, ...]; for rows of various lengths, one row [1, L].

    Raises:
        ValueError: see `read_values`; or the rows do not exist.
        Exception: see `read_values`.
    """
    item = _dataset(group, name)
    if not item.shape or not 0 <= begin <= end <= item.shape[0]:
        raise ValueError(f"there are no rows {begin} to {end} in its shape {item.shape}")
    _check_extent(item, (end - begin, *item.shape[1:]), most_bytes)
    array = _values(item, slice(begin, end), most_bytes)
    if h5py.check_vlen_dtype(item.dtype) is None:
        return array
    if len(array) != 1 or array.ndim != 1:
        raise ValueError(f"rows of various lengths in the shape {item.shape}")
    return np.asarray(array[0])[np.newaxis]


def _values(item: h5py.Dataset, rows: slice | tuple[()], most_bytes: int) -> np.ndarray:
    if item.dtype.kind != "O":
        return np.asarray(item[rows])
    # The library allocates as many values of various lengths as a damaged file declares.
    with bounded_memory(2 * most_bytes):
        return np.asarray(item[rows])


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    item = group.get(name) if _is_here(group, name) else None
    if not isinstance(item, h5py.Dataset) or _lies_elsewhere(item, group):
        raise ValueError(f"it is {_described(item)}, expected a data set stored in the file itself")
    if item.shape is None:
        raise ValueError("it is a data set without values")
    return item


def _check_extent(item: h5py.Dataset, shape: tuple[int, ...], most_bytes: int) -> None:
    """Raises ValueError if a data set is too large for this shape, or has unusual chunks."""
    chunks = item.chunks
    # Values that were never written take no space in the file.
    if math.prod(shape) * item.dtype.itemsize > most_bytes:
        raise ValueError(f"it declares {shape} of {item.dtype}, more than {most_bytes} bytes")
    if chunks is not None and not (
        len(chunks) == len(shape)
        and math.prod(chunks) * item.dtype.itemsize <= most_bytes
        and math.prod(-(-size // part) for size, part in zip(shape, chunks, strict=True))
        <= _MOST_CHUNKS
    ):
        raise ValueError(f"it declares {shape} in chunks of {chunks}: is the file damaged?")


def _is_here(group: h5py.Group, name: str) -> bool:
    """Returns whether the last part of the name is no link to another place."""
    return group.get(name, getclass=True, getlink=True) is h5py.HardLink


def _lies_elsewhere(item: h5py.Dataset, group: h5py.Group) -> bool:
    # A parent group may be a link.
    return bool(item.external or item.is_virtual or item.file.filename != group.file.filename)


def _described(item: Any) -> str:
    if item is None:
        return "not there, or a link"
    return "a group" if isinstance(item, h5py.Group) else "values of another file"
