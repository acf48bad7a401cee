"""Output folders and files of predictions, reports and galleries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfrecords.core.files import atomic_file, clear_disk_errors, make_folder, write_atomically

# Full file systems may still accept an empty file, but not a block of data.
_BLOCK = bytes(1 << 12)


def prepare_output(folder: Path | str) -> Path:
    """Creates a folder for results; call it before computing them.

    Returns:
        The folder.

    Raises:
        InputError: the folder cannot be created, or the disk is full.
        OSError: the folder is not writable.
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
    """Writes a file atomically and creates its folder.

    Args:
        path: file to write; an existing file is replaced only when the new one is complete.
        data: content of the file. Text is written as UTF-8; half of a surrogate pair (from a file
            name that is not UTF-8) is escaped, and JSON decodes it to that half again.

    Returns:
        The path.

    Raises:
        InputError: the folder cannot be created, or the disk is full.
        OSError: the folder is not writable.
    """
    return write_parts(path, [data])


def write_parts(path: Path | str, parts: Iterable[bytes | str]) -> Path:
    """Writes a file like `write_whole`, from parts that need not be in memory at once."""
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
    """Returns text as UTF-8 and escapes halves of surrogate pairs; see `write_whole`."""
    return text.encode("utf-8", "backslashreplace")


def name_some(names: Iterable[object], limit: int = 5) -> str:
    """Returns names for a message, such as `'a', 'b' and 7 more`."""
    listed = [repr(name) for name in names]
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
