"""Data sets of HDF5 files that somebody else wrote: checked before their values are read.

The library believes what a file says. A data set may lie in another file, and a damaged one may
declare chunks that take minutes and gigabytes to read.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

_MOST_CHUNKS = 1 << 20


def read_values(group: h5py.Group, name: str, most_bytes: int) -> np.ndarray:
    """All values of a data set.

    Args:
        group: that holds it.
        name: of the data set.
        most_bytes: a larger one is not read.

    Raises:
        ValueError: it is no data set, is not stored in this file itself, or is larger.
        Exception: the file is damaged; the library raises many kinds.
    """
    item = group.get(name) if _is_here(group, name) else None
    if not isinstance(item, h5py.Dataset) or _lies_elsewhere(item, group):
        raise ValueError(f"it is {_described(item)}, expected a data set stored in the file itself")
    shape, chunks = item.shape, item.chunks
    if shape is None:
        raise ValueError("it is a data set without values")
    # What was never written takes no room in the file.
    if math.prod(shape) * item.dtype.itemsize > most_bytes:
        raise ValueError(f"it declares {shape} of {item.dtype}, more than {most_bytes} bytes")
    if chunks is not None and not (
        len(chunks) == len(shape)
        and math.prod(chunks) * item.dtype.itemsize <= most_bytes
        and math.prod(-(-size // part) for size, part in zip(shape, chunks, strict=True))
        <= _MOST_CHUNKS
    ):
        raise ValueError(f"it declares {shape} in chunks of {chunks}: is the file damaged?")
    return np.asarray(item[()])


def _is_here(group: h5py.Group, name: str) -> bool:
    """Whether the last part of the name is no link to elsewhere."""
    return group.get(name, getclass=True, getlink=True) is h5py.HardLink


def _lies_elsewhere(item: h5py.Dataset, group: h5py.Group) -> bool:
    # A group on the way to it may be a link.
    return bool(item.external or item.is_virtual or item.file.filename != group.file.filename)


def _described(item: Any) -> str:
    if item is None:
        return "not there, or a link"
    return "a group" if isinstance(item, h5py.Group) else "values of another file"
