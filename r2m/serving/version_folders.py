"""Versions of an exported model: numbered folders, each of them complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, lock_file, make_folder, sync_folder

_LOCK = ".lock"
_TEMPORARY = ".tmp-"


def versions_of(folder: Path) -> list[int]:
    """Returns the numbers of the versions in the folder of an exported model, ascending."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def model_name(folder: Path) -> str:
    """Returns the name of the exported model in a folder, also of a folder such as `..`."""
    # Not `resolve`, because a link may have the intended name.
    return Path(os.path.abspath(folder)).name  # noqa: PTH100


@contextmanager
def new_version(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yields the number of the next version and a temporary folder to write it to.

    After the context, the folder is on disk under its number, so that a server never reads an
    incomplete version. If the body fails, the temporary folder is removed.

    Raises:
        InputError: another process exports to the folder, it cannot be created, or the disk is
            full.
    """
    make_folder(folder)
    if (folder / "saved_model.pb").exists():
        raise InputError(
            f"{folder} is a SavedModel itself: give the folder that contains its versions"
        )
    with lock_file(folder / _LOCK, f"another process exports to {folder}: wait until it ends"):
        for left in folder.glob(f"{_TEMPORARY}*"):  # left by a killed process
            shutil.rmtree(left, ignore_errors=True)
        number = max(versions_of(folder), default=0) + 1
        temporary = folder / f"{_TEMPORARY}{number}"
        temporary.mkdir()
        try:
            with clear_disk_errors(folder, resumes=False):
                yield number, temporary
                _sync_files(temporary)
                temporary.rename(folder / str(number))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder)


def _sync_files(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            with Path(place, name).open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(place))
