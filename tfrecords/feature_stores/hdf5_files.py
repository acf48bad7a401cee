"""Opening and reading HDF5 files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from tfrecords.errors import InputError

_LISTED = 6


def names_in(group: Any) -> list[str]:
    """The names in a group; bytes that are no UTF-8 become surrogates, which match no image."""
    # The library gives such names as bytes.
    return [
        name if isinstance(name, str) else bytes(name).decode(errors="surrogateescape")
        for name in group
    ]


def item_of(group: Any, name: str) -> Any:
    """The data set or group of a name; None for links to elsewhere, which are never followed."""
    import h5py

    try:
        link = group.get(name, getclass=True, getlink=True)
        return group.get(name) if link is h5py.HardLink else None
    except UnicodeEncodeError:
        return None


def describe_contents(path: Path) -> str:
    """The first names in a file with their shapes, for errors."""
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
    """The open file; once a process, because a handle cannot go to another.

    Raises:
        InputError: it cannot be opened.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"there is no HDF5 file {path}") from None
    except Exception as error:
        raise InputError(f"cannot open {path} as HDF5: {error}") from error
