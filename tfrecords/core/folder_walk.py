"""Walk over a folder and its subfolders, following each link to a folder once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """An entry found by `walk_folder`.

    Attributes:
        name: path relative to the folder, as returned by the file system, with `/` between folders;
            empty for the folder itself, which is yielded only if it cannot be listed.
        kind: `file` (also a pipe or a dangling link), `folder` or `hidden`.
        fault: the reason why a folder cannot be listed.
    """

    name: str
    kind: str
    fault: str | None = None


def walk_folder(folder: Path, *, recursive: bool = True) -> Iterator[Entry]:
    """Yields the entries of a folder and, with `recursive`, of all its subfolders.

    Links to folders are followed. A folder reached twice is listed once, by the path without links
    if there is one. Entries whose name begins with a dot are hidden: they are yielded, but hidden
    folders are not entered.
    """
    seen: set[tuple[int, int]] = set()
    # A loop, because folders may be nested deeper than Python's stack.
    folders, linked = [("", folder)], list[tuple[str, Path]]()
    while folders or linked:
        prefix, place = folders.pop() if folders else linked.pop(0)
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Entry(prefix.rstrip("/"), "folder", error.strerror or str(error))
            continue
        below: list[tuple[str, Path]] = []
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                yield Entry(name, "hidden")
            elif not _is_folder(entry):
                yield Entry(name, "file")
            else:
                yield Entry(name, "folder")
                if recursive:
                    following = linked if entry.is_symlink() else below
                    following.append((f"{name}/", place / entry.name))
        folders += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link cycle
        return False
