"""HDF5 files of features, in the layouts of several code bases.

| layout | data sets |
|---|---|
| an array per image (self-critical.pytorch) | `<id>` |
| fields per image (Meshed-Memory, DLCT, RSTNet) | `<id>_features`, `<id>_boxes`, `<id>_grids` |
| groups per image | `<id>/features`, `<id>/boxes` |
| groups per field | `features/<id>`, `boxes/<id>` |
| columns (bottom-up attention for VQA, nocaps) | `features` [M, N, D], `image_id` [M], `boxes` |

Names of fields and columns are those of `field_names.py`. Columns without row names take them from
a separate file (`imgid2idx.pkl`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.array_store import Field
from tfrecords.formats.features.arrays import MOST_BYTES, finite
from tfrecords.formats.features.field_names import (
    FEATURE_ROLES,
    describe_fields,
    field_role,
    fields_by_role,
    split_field,
)
from tfrecords.formats.hdf5_files import describe_contents, item_of, names_in, opened, read_values

_SAMPLE = 8
_DEEPEST = 8


@dataclass(frozen=True)
class Hdf5Arrays:
    """Data sets of a file, one per image.

    Attributes:
        path: path of the file.
        prefix: text before the image name in the name of every data set (`features/`).
        suffix: text after the image name (`_features`, `/features`).
    """

    path: Path
    prefix: str = ""
    suffix: str = ""

    @property
    def sources(self) -> tuple[Path, ...]:
        """See `Arrays.sources`."""
        return (self.path,)

    @property
    def has_row_numbers(self) -> bool:
        """See `Arrays.has_row_numbers`."""
        return False

    def keys(self) -> list[str]:
        """Returns the names of the images."""
        return list(_image_names(self))

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        try:
            return bool(key) and self._name(key) in opened(self.path)
        except UnicodeEncodeError:
            return False
        except InputError:
            raise
        except Exception as error:  # the library raises many kinds
            raise InputError(f"{self.path}, image {key!r} cannot be read: {error}") from error

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        if not self.has(key):
            return None
        where = f"{self.path}, image {key!r}"
        try:
            array = read_values(opened(self.path), self._name(key), MOST_BYTES)
        except Exception as error:  # the library raises many kinds
            raise InputError(f"{where} cannot be read: {error}") from error
        return finite(array, where)

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return describe_contents(self.path)

    def _name(self, key: str) -> str:
        return f"{self.prefix}{key}{self.suffix}"


def hdf5_fields(path: Path, ids: Path | None = None) -> list[Field]:
    """Returns the fields of a file in any of the layouts.

    Args:
        path: path of the file.
        ids: a list of the names of the rows, for columns; see `read_row_names`.

    Raises:
        InputError: the file is not HDF5, has none of the layouts, or has columns without row names;
            the message lists the recognized names and the contents of the file.
    """
    import h5py

    from tfrecords.formats.features.hdf5_columns import column_fields, is_columns

    file = opened(path)
    try:
        names = names_in(file)
        groups = [name for name in names[:_SAMPLE] if isinstance(item_of(file, name), h5py.Group)]
        if is_columns(file, names, with_ids=ids is not None):
            return column_fields(path, names, ids)
        if len(names) == len(groups) == 1:
            inside = names_in(file[names[0]])
            if is_columns(file[names[0]], inside, with_ids=ids is not None, sure=True):
                return column_fields(path, [f"{names[0]}/{name}" for name in inside], ids)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds
        raise InputError(f"the names in {path} cannot be read: {error}") from error
    if ids is not None:
        raise InputError(
            f"ids={ids} names the rows of columns, but {path} has no column of features (expected "
            f"{describe_fields()}); it contains {describe_contents(path)}"
        )
    if not names:
        raise InputError(f"{path} contains no images")
    try:
        found = (_grouped(path, names, groups) if groups else []) or _suffixed(path, names)
    except Exception as error:  # the library raises many kinds
        raise InputError(f"the names in {path} cannot be read: {error}") from error
    return found or [Field("feature", Hdf5Arrays(path))]


def _grouped(path: Path, names: list[str], groups: list[str]) -> list[Field]:
    file = opened(path)
    by_role = fields_by_role(names)
    if not by_role.keys().isdisjoint(FEATURE_ROLES):
        return [Field(role, Hdf5Arrays(path, prefix=f"{name}/")) for role, name in by_role.items()]
    members = fields_by_role(names_in(file[groups[0]]))
    if not members.keys().isdisjoint(FEATURE_ROLES):
        return [Field(role, Hdf5Arrays(path, suffix=f"/{name}")) for role, name in members.items()]
    return []


def _suffixed(path: Path, names: list[str]) -> list[Field]:
    """Returns the fields of names like `<id>_features`, if most names have that form."""
    images: dict[str, set[str]] = {}
    for name in names:
        if (split := split_field(name)) is not None:
            images.setdefault(split[1], set()).add(split[0])
    features = [name for name in images if field_role(name) in FEATURE_ROLES]
    every = set().union(*(images[name] for name in features))
    others = sum(not _begins_with_one_of(every, name) for name in names)
    if not every or others > len(every):
        return []
    return [
        Field(role, Hdf5Arrays(path, suffix=f"_{name}"))
        for role, name in fields_by_role(images).items()
    ]


def _begins_with_one_of(images: set[str], name: str) -> bool:
    at = name.find("_")
    while at > 0:
        if name[:at] in images:
            return True
        at = name.find("_", at + 1)
    return False


def _image_names(arrays: Hdf5Arrays) -> Iterator[str]:
    file = opened(arrays.path)
    try:
        if arrays.prefix:
            yield from names_in(file[arrays.prefix])
        elif arrays.suffix.startswith("/"):
            yield from names_in(file)
        elif arrays.suffix:
            for name in names_in(file):
                if name.endswith(arrays.suffix):
                    yield name.removesuffix(arrays.suffix)
        else:
            yield from _nested_names(file, "", 0)
    except Exception as error:  # the library raises many kinds
        raise InputError(f"the names in {arrays.path} cannot be read: {error}") from error


def _nested_names(group: Any, prefix: str, depth: int) -> Iterator[str]:
    """Yields the names of all data sets; those in groups as `val2014/000000000042`."""
    import h5py

    # Opening 123,287 items to find their types takes half a minute: a sample is enough.
    names = names_in(group)
    sample = names[:_SAMPLE]
    deeper = depth < _DEEPEST and any(isinstance(item_of(group, n), h5py.Group) for n in sample)
    for name in names:
        item = item_of(group, name) if deeper else None
        if isinstance(item, h5py.Group) and len(item):
            yield from _nested_names(item, f"{prefix}{name}/", depth + 1)
        else:
            yield prefix + name
