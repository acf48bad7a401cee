"""LMDBs with a pickled dictionary per image, as ViLBERT and MMF write them.

The arrays are NumPy arrays or base64 of float32. Only plain data is unpickled.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.array_store import Field
from tfrecords.formats.features.arrays import finite
from tfrecords.formats.features.field_names import FEATURE_ROLES, describe_fields, fields_by_role
from tfrecords.formats.features.lmdb_arrays import LmdbArrays

_PICKLE = b"\x80"


@dataclass(frozen=True)
class PickledArrays(LmdbArrays):
    """One array of each dictionary in a database.

    Attributes:
        path: path of its folder or its file.
        field: key of the array.
    """

    field: str = ""

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        if not self.has(key):
            return None
        content = _content(self.path, key)
        where = f"{self.path}, image {key!r}"
        if self.field not in content:
            raise InputError(
                f"{where} has no {self.field!r}; it has {', '.join(map(repr, list(content)[:8]))}"
            )
        return _array(content[self.field], f"{where}, {self.field}")


def lmdb_fields(path: Path) -> list[Field]:
    """Returns the fields of a database, which follow from its first value.

    Raises:
        InputError: the path is not a database, or its values contain no features.
    """
    arrays = LmdbArrays(path)
    names = arrays.keys()
    if not names or not arrays.value(names[0]).startswith(_PICKLE):
        return [Field("feature", arrays)]
    content = _content(path, names[0])
    by_role = fields_by_role(content)
    if by_role.keys().isdisjoint(FEATURE_ROLES):
        raise InputError(
            f"{path}, image {names[0]!r}: a pickle with {', '.join(map(repr, list(content)[:8]))}; "
            f"expected one of {describe_fields()}"
        )
    return [Field(role, PickledArrays(path, name)) for role, name in by_role.items()]


@lru_cache(maxsize=1)
def _content(path: Path, key: str) -> dict[str, Any]:
    """Unpickles the dictionary of an image; cached, because its fields are read one by one."""
    from tfrecords.core.safe_pickle import load_pickle

    where = f"{path}, image {key!r}"
    content = load_pickle(io.BytesIO(LmdbArrays(path).value(key)), where)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{where}: a pickle of {type(content).__name__}, expected a dictionary")
    return content


def _array(value: Any, where: str) -> np.ndarray:
    if isinstance(value, (bytes, str)) and value.isdigit() and len(value) < 10:
        # ViLBERT stores sizes as text.
        value = int(value)
    elif isinstance(value, (bytes, str)):
        try:
            value = np.frombuffer(base64.b64decode(value, validate=True), "<f4")
        except ValueError as error:
            raise InputError(f"{where} is not float32 encoded as base64: {error}") from None
    try:
        return finite(np.asarray(value), where)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} is not an array of numbers: {error}") from None
