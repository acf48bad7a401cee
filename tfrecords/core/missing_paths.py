"""Hints for error messages about missing files and folders."""

from __future__ import annotations

import difflib
from pathlib import Path

from tfrecords.core.errors import InputError


def describe_missing(path: Path) -> str:
    """Returns a suggestion, or the part of the path that is missing: `; did you mean raw/x?`."""
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return ""
    if near := difflib.get_close_matches(missing.name, names, n=1):
        meant = missing.parent / near[0] / path.relative_to(missing)
        return f"; did you mean {meant if meant.exists() else missing.parent / near[0]}?"
    if missing.parent == Path():
        return f"; the current folder is {Path.cwd()}"
    return f"; there is no {missing.name} in {missing.parent}"


def check_image_folder(folder: Path) -> None:
    """Raises `InputError` if there is no such folder of images."""
    if not folder.is_dir():
        raise InputError(f"there is no folder of images {folder}{describe_missing(folder)}")
