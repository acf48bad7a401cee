"""Writer of files in the format of `torch.save`, without torch."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np


class _Tensor:
    """Array that is pickled like a torch tensor."""

    def __init__(self, array: np.ndarray, key: str) -> None:
        self.array, self.key = array, key

    @property
    def kind(self) -> str:
        return {"uint8": "ByteStorage", "int64": "LongStorage", "float32": "FloatStorage"}[
            str(self.array.dtype)
        ]

    def __reduce__(self) -> Any:
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        hooks: Any = collections.OrderedDict()
        arguments = (_Storage(self), 0, self.array.shape, strides, False, hooks)
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class _Storage:
    def __init__(self, tensor: _Tensor) -> None:
        self.tensor = tensor


def _dump(data: Any, legacy: bool) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, _Storage):
                return None
            tensor = obj.tensor
            kind = getattr(sys.modules["torch"], tensor.kind)
            pid = ("storage", kind, tensor.key, "cpu", tensor.array.size)
            return (*pid, None) if legacy else pid

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("ByteStorage", "LongStorage", "FloatStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    torch._utils = utils  # type: ignore[attr-defined]
    stream = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        Pickler(stream, 2).dump(data)
    return stream.getvalue()


def write_torch(
    path: Path, data: dict[str, Any], *, legacy: bool = False, storage: np.ndarray | None = None
) -> Path:
    """Writes a file like `torch.save`; top-level arrays, in C or Fortran order, become tensors.

    Args:
        path: path of the file.
        data: data to save.
        legacy: whether to write the layout before PyTorch 1.6 instead of a zip file.
        storage: elements to store for every tensor of a zip file, instead of its own.
    """
    tensors = {
        key: _Tensor(value, str(number))
        for number, (key, value) in enumerate(data.items())
        if isinstance(value, np.ndarray)
    }
    pickled = _dump({**data, **tensors}, legacy)
    if legacy:
        with path.open("wb") as stream:
            for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
                stream.write(pickle.dumps(part, 2))
            stream.write(pickled)
            keys = sorted(tensor.key for tensor in tensors.values())
            stream.write(pickle.dumps(keys, 2))
            by_key = {tensor.key: tensor.array for tensor in tensors.values()}
            for key in keys:
                stream.write(struct.pack("<q", by_key[key].size) + by_key[key].tobytes("A"))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("coco/data.pkl", pickled)
        archive.writestr("coco/byteorder", "little")
        for tensor in tensors.values():
            elements = tensor.array if storage is None else storage
            archive.writestr(f"coco/data/{tensor.key}", elements.tobytes("A"))
        archive.writestr("coco/version", "3\n")
    return path
