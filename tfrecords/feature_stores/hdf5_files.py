"""Opening and reading HDF5 files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from tfrecords.errors import InputError

_LISTED = 6


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
