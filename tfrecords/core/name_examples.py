"""Example names of a file or a folder, for error messages about missing names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_EXAMPLES = 2
_LONGEST = 100


def describe_names(names: Sequence[str], what: str = "image") -> str:
    """Returns the number of names and two examples: `8 images ('1', '2', ...)`."""
    if not names:
        return f"no {what}"
    shown = ", ".join(repr(name[:_LONGEST]) for name in names[:_EXAMPLES])
    more = ", ..." if len(names) > _EXAMPLES else ""
    plural = what.removesuffix("y") + "ies" if what.endswith("ry") else what + "s"
    return f"{len(names)} {what if len(names) == 1 else plural} ({shown}{more})"


def describe_available(folders: Sequence[Path], stored: Sequence[str] | None = None) -> str:
    """Describes the available names, for the error that none of the requested images exists.

    Args:
        folders: folders of image files.
        stored: names in a feature store; None without a store.
    """
    parts = [f"{folder} contains {describe_folder(folder)}" for folder in folders]
    if stored is not None:
        parts.append(f"The feature store contains {describe_names(stored)}")
    return ". ".join(parts)


def describe_folder(folder: Path) -> str:
    """Returns the number of entries of a folder and two examples: `3 entries ('a.jpg', ...)`."""
    try:
        with os.scandir(folder) as items:
            names = sorted(item.name + "/" * item.is_dir() for item in items)
    except OSError as error:
        return f"entries that cannot be listed ({error.strerror})"
    return describe_names(names, "entry")
