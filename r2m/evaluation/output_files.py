"""Output folders and files of predictions, reports and galleries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfrecords.writing.files import (
    atomic_file,
    clear_disk_errors,
    make_folder,
    write_atomically,
)

# Some file systems are full for a block of data while they still take an empty file.
_BLOCK = bytes(1 << 12)


def prepare_output(folder: Path | str) -> Path:
    """Makes a folder for results; to be called before the work that they take.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be made, or the disk is full.
        OSError: it cannot be written to.
    """
    folder = Path(folder)
    make_folder(folder)
    trial = folder / ".r2m-writes-here"
    try:
        with clear_disk_errors(folder, resumes=False):
            write_atomically(trial, _BLOCK)
    except OSError as error:
        error.filename = str(folder)
        raise
    trial.unlink()
    return folder


def write_whole(path: Path | str, data: bytes | str) -> Path:
    """Writes a file whole or not at all, making its folder first.

    Args:
        path: file to write; an existing file is replaced only when the new one is complete.
        data: all of it; text is written as UTF-8, half of a surrogate pair (of a file name that is
            not UTF-8) as its escape, which JSON reads as that half again.

    Returns:
        The path.

    Raises:
        InputError: the folder cannot be made, or the disk is full.
        OSError: the folder cannot be written to.
    """
    return write_parts(path, [data])


def write_parts(path: Path | str, parts: Iterable[bytes | str]) -> Path:
    """Writes a file as `write_whole` does, from parts that need not be in memory together."""
    path = Path(path)
    make_folder(path.parent)
    encoded = (encode_text(part) if isinstance(part, str) else part for part in parts)
    with (
        clear_disk_errors(path.parent, resumes=False),
        atomic_file(path) as temporary,
        temporary.open("wb") as stream,
    ):
        stream.writelines(encoded)
    return path


def encode_text(text: str) -> bytes:
    """Returns text as UTF-8, half of a surrogate pair as its escape; see `write_whole`."""
    return text.encode("utf-8", "backslashreplace")


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """`'a', 'b' and 7 more`: enough to find the fault, short enough to read."""
    listed = [repr(name) for name in names]
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
