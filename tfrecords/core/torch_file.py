"""Reader of files of `torch.save` without torch: containers, numbers, text and tensors, as data.

Both layouts are supported: the zip file of PyTorch 1.6 and later, and the sequence of pickles of
earlier versions. Tensors are loaded lazily.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tfrecords.core.errors import InputError
from tfrecords.core.safe_pickle import load_pickle

_STORAGES = {
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "BoolStorage": "<?",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Such a file contains little data in addition to the tensors.
_LARGEST_PICKLE = 1 << 30
# The fixed-size part of a zip file's local header, and its last two fields.
_ZIP_HEADER = struct.Struct("<26xHH")
# The number of elements of a storage, before its bytes in the older layout.
_NUMEL = struct.Struct("<q")


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str


@dataclass(frozen=True)
class _Tensor:
    """Elements of a storage, starting at `offset` and `strides` apart."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """Index after the last element of the storage in the tensor."""
        if 0 in self.shape:
            return self.offset
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * stride for size, stride in steps) + 1


def load_torch(path: Path) -> dict[str, Any]:
    """Loads a saved dict; tensors in its values become read-only memory-mapped arrays.

    Raises:
        InputError: the file was not written by `torch.save`, is damaged, contains no dict, or
            contains something other than data.
    """
    try:
        if zipfile.is_zipfile(path):
            return _load_zip(path)
        with path.open("rb") as stream:
            return _load_legacy(path, stream)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error) as error:
        raise InputError(f"{path} cannot be read as a file of torch.save: {error}") from error


def _load_zip(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise InputError(f"{path} is not a file of torch.save: it contains no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order and archive.read(order).strip() != b"little":
            raise InputError(f"{path} was saved by a big-endian machine, which is not supported")
        if members[pickles[0]].file_size > _LARGEST_PICKLE:
            raise InputError(f"{path}: data.pkl is larger than in any known file: is it damaged?")
        with archive.open(pickles[0]) as stream:
            saved = _load(stream, path)
        places = {}
        with path.open("rb") as raw:
            for name, info in members.items():
                if name.startswith(f"{folder}data/"):
                    places[name.rpartition("/")[2]] = _place(path, raw, info)
    return _arrays(saved, path, places)


def _place(path: Path, raw: IO[bytes], info: zipfile.ZipInfo) -> tuple[int, int]:
    """Returns the offset and size of a member in the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise InputError(f"{path}: {info.filename} is compressed, which torch.save never does")
    raw.seek(info.header_offset)
    name, extra = _ZIP_HEADER.unpack(raw.read(_ZIP_HEADER.size))
    return info.header_offset + _ZIP_HEADER.size + name + extra, info.file_size


def _load_legacy(path: Path, stream: IO[bytes]) -> dict[str, Any]:
    if load_pickle(stream, path) != _LEGACY_MAGIC or load_pickle(stream, path) != _LEGACY_PROTOCOL:
        raise InputError(f"{path} is not a file of torch.save")
    system = load_pickle(stream, path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError(f"{path} was saved by a big-endian machine, which is not supported")
    sizes: dict[str, int] = {}
    saved = _load(stream, path, sizes)
    keys = load_pickle(stream, path)
    places = {}
    for key in map(str, keys) if isinstance(keys, list) else ():
        header = stream.read(_NUMEL.size)
        if len(header) < _NUMEL.size or key not in sizes:
            raise InputError(f"{path} ends before its tensors: is it cut short?")
        places[key] = stream.tell(), _NUMEL.unpack(header)[0] * sizes[key]
        if not 0 <= places[key][1] <= path.stat().st_size:
            raise InputError(f"{path} has a tensor larger than the file: is it damaged?")
        stream.seek(places[key][1], os.SEEK_CUR)
    return _arrays(saved, path, places)


def _load(stream: IO[bytes], path: Path, sizes: dict[str, int] | None = None) -> Any:
    def storage(pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage"):
            raise InputError(f"{path} refers to something that is not a storage of a tensor")
        if not isinstance(pid[1], str) or pid[1] not in _STORAGES.values():
            raise InputError(f"{path} has a storage of an unknown kind")
        if sizes is not None:
            sizes[str(pid[2])] = np.dtype(pid[1]).itemsize
        return _Storage(str(pid[2]), pid[1])

    def tensor(where: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> _Tensor:
        del rest  # requires_grad, backward hooks
        whole = all(type(n) is int and 0 <= n < 1 << 48 for n in (offset, *shape, *stride))
        if not (isinstance(where, _Storage) and whole and len(shape) == len(stride) <= 8):
            raise InputError(f"{path} contains a tensor of an impossible shape: is it damaged?")
        return _Tensor(where, offset, tuple(shape), tuple(stride))

    return load_pickle(
        stream,
        path,
        also={
            ("torch._utils", "_rebuild_tensor_v2"): tensor,
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
        },
        persistent=storage,
    )


def _arrays(saved: Any, path: Path, places: dict[str, tuple[int, int]]) -> dict[str, Any]:
    if not isinstance(saved, dict):
        raise InputError(f"{path}: expected a dict, found {type(saved).__name__}")
    return {
        str(key): _array(value, path, places) if isinstance(value, _Tensor) else value
        for key, value in saved.items()
    }


def _array(tensor: _Tensor, path: Path, places: dict[str, tuple[int, int]]) -> np.ndarray:
    dtype = np.dtype(tensor.storage.dtype)
    start, size = places.get(tensor.storage.key, (0, 0))
    needed = tensor.end * dtype.itemsize
    if needed > size or start + needed > path.stat().st_size:
        raise InputError(
            f"{path}: a tensor of shape {list(tensor.shape)} exceeds its storage: "
            "is the file cut short?"
        )
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    # A stride of 0 would let a few bytes represent a tensor that fills the memory.
    if math.prod(tensor.shape) > tensor.end - tensor.offset:
        raise InputError(
            f"{path}: a tensor of shape {list(tensor.shape)} repeats elements of its storage: save "
            "it with .contiguous()"
        )
    elements = np.memmap(
        path,
        dtype,
        "r",
        offset=start + tensor.offset * dtype.itemsize,
        shape=(tensor.end - tensor.offset,),
    )
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    return as_strided(elements, tensor.shape, strides, writeable=False)
