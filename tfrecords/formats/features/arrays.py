"""Arrays from untrusted .npy and .npz files.

NumPy's own loader trusts a header that declares more than the file contains, and a compressed file
of a few kilobytes may unpack to gigabytes. This module compares sizes before it allocates memory.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.field_names import FEATURE_ROLES, describe_fields, fields_by_role

# Limit for one array of one image: a 64 x 64 map of 8192 float64 channels takes half of it.
MOST_BYTES = 1 << 29
NPY, ZIP = b"\x93NUMPY", b"PK"


def read_array_file(path: Path, field: str | None = None) -> np.ndarray | None:
    """Reads the array of a .npy or .npz file; returns None if there is no such file.

    Args:
        path: path of the file.
        field: see `read_array`.

    Raises:
        InputError: the file is damaged or contains no numbers; names the file.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    return read_array(data, str(path), field)


def read_array(data: bytes, where: str, field: str | None = None) -> np.ndarray:
    """Decodes the array in the bytes of a .npy or .npz file.

    Args:
        data: the bytes.
        where: name of the bytes in messages.
        field: name of the array in the .npz; None takes the only array, or the first array that has
            one of the usual names of features (`feat`, `z`, `features`, ...).

    Returns:
        Finite numbers: float16 as stored, all others as float32.

    Raises:
        InputError: the bytes are in neither format, are damaged or too large, or contain something
            other than numbers.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{where} is larger than the {MOST_BYTES} bytes allowed per image")
    try:
        if data.startswith(NPY):
            array = _npy(data)
        elif data.startswith(ZIP):
            array = _npy(_unpacked(data, field))
        else:
            raise ValueError(f"it begins with {data[:8]!r}, expected a .npy or .npz file")
    except Exception as error:  # a damaged header or archive can fail in any way
        raise InputError(f"{where} cannot be read as an array: {error or repr(error)}") from error
    return finite(array, where)


def npy_header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Reads the header of a .npy file: shape, Fortran order, dtype, and the offset of the data.

    Args:
        stream: at its beginning.
        size: size of the file in bytes.

    Raises:
        ValueError: the file is not a .npy, contains objects, or declares more data than it has.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    start = stream.tell()
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which are not supported")
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size - start:
        raise ValueError(f"shape {shape} of {dtype} requires {needed} bytes, found {size - start}")
    return shape, fortran, dtype, start


def finite(array: np.ndarray, where: str) -> np.ndarray:
    """Converts an array to float16 or float32.

    Raises:
        InputError: the array contains something other than finite numbers.
    """
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where} contains {array.dtype}, expected numbers")
    if array.dtype.kind != "f" or array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not np.isfinite(array).all():
        raise InputError(f"{where} contains numbers that are not finite in {array.dtype}")
    return array


def _npy(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    shape, fortran, dtype, start = npy_header(stream, len(data))
    array = np.frombuffer(data, dtype, math.prod(shape), start)
    return array.reshape(shape, order="F" if fortran else "C")


def npz_names(path: Path) -> list[str]:
    """Returns the names of the arrays in an .npz file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # a damaged archive can fail in any way
        raise InputError(f"{path} cannot be read as an array: {error or repr(error)}") from error


def _unpacked(data: bytes, field: str | None) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        by_role = fields_by_role(name.removesuffix(".npy") for name in names)
        known = [by_role[role] for role in FEATURE_ROLES if role in by_role]
        name = f"{field or (known[0] if known else '')}.npy"
        if field is None and not known and len(names) == 1:
            name = names[0]
        if name not in names:
            wanted = f"`{field}`" if field else describe_fields()
            raise ValueError(f"it contains {', '.join(names[:8]) or 'nothing'}, expected {wanted}")
        # `zipfile` never unpacks more than the declared size.
        if archive.getinfo(name).file_size > MOST_BYTES:
            raise ValueError(f"{name} unpacks to more than {MOST_BYTES} bytes")
        return archive.read(name)
