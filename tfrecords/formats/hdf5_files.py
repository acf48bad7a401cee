"""HDF5 files: opening, names of their contents, and checked reading of their data sets.

The files are untrusted, and the HDF5 library trusts their metadata. A data set may be stored in
another file, and a damaged one may declare chunks that take minutes and gigabytes to read.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.safe_pickle import bounded_memory

if TYPE_CHECKING:
    import h5py

_LISTED = 6
_MOST_CHUNKS = 1 << 20


def names_in(group: Any) -> list[str]:
    """Returns the names in a group; invalid UTF-8 becomes surrogates, which match no image."""
    # The library returns such names as bytes.
    return [
        name if isinstance(name, str) else bytes(name).decode(errors="surrogateescape")
        for name in group
    ]


def item_of(group: Any, name: str) -> Any:
    """Returns the data set or group of a name; None for links, which are never followed."""
    import h5py

    try:
        link = group.get(name, getclass=True, getlink=True)
        return group.get(name) if link is h5py.HardLink else None
    except UnicodeEncodeError:
        return None


def describe_contents(path: Path) -> str:
    """Describes the first names in a file and their shapes, for error messages."""
    try:
        file = opened(path)
        names = names_in(file)
        shown = [_described(name, item_of(file, name)) for name in names[:_LISTED]]
        more = [f"{len(names)} names in all"] if len(names) > _LISTED else []
    except Exception as error:  # the library raises many kinds
        return f"names that cannot be read ({error})"
    return ", ".join([*shown, *more]) or "nothing"


def _described(name: str, item: Any) -> str:
    if item is None:
        return f"{name!r} (a link)"
    shape = getattr(item, "shape", None)
    return f"{name!r} {'(a group)' if shape is None else list(shape)}"


@lru_cache(maxsize=8)
def opened(path: Path) -> Any:
    """Opens a file once per process, because a handle cannot be passed to another process.

    Raises:
        InputError: the file cannot be opened.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"there is no HDF5 file {path}") from None
    except Exception as error:
        raise InputError(f"cannot open {path} as HDF5: {error}") from error


def read_values(group: h5py.Group, name: str, most_bytes: int) -> np.ndarray:
    """Reads all values of a data set.

    Args:
        group: the group of the data set.
        name: name of the data set.
        most_bytes: limit for the size of the data set.

    Raises:
        ValueError: the name is not a data set, is stored in another file, or is too large.
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
    import h5py

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
    import h5py

    item = item_of(group, name)
    if not isinstance(item, h5py.Dataset) or _is_in_another_file(item, group):
        raise ValueError(f"it is {_kind_of(item)}, expected a data set stored in the file itself")
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


def _is_in_another_file(item: h5py.Dataset, group: h5py.Group) -> bool:
    # A parent group may be a link.
    return bool(item.external or item.is_virtual or item.file.filename != group.file.filename)


def _kind_of(item: Any) -> str:
    import h5py

    if item is None:
        return "missing, or a link"
    return "a group" if isinstance(item, h5py.Group) else "stored in another file"
