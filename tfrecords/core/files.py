"""Atomic files, and their checksums."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, cast

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing

_BLOCK = 1 << 20
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path for writing; on exit, its bytes are on disk under `path`.

    The name contains the process id, so that two processes never share it. The file is removed if
    the body fails. An `OSError` about the temporary file names `path` instead.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the plain call is the documented atomic one
    except BaseException as error:
        with suppress(OSError):  # the folder may be the cause
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a small file atomically, so that no reader gets a part of it."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents, unless it exists.

    Raises:
        InputError: the folder cannot be created, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder} is a file, expected a folder: give another path") from None
    except OSError as error:
        if error.errno in FULL_DISK:
            raise no_space(folder, error) from error
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}; give another path, or "
            "change its permissions"
        ) from error


def sync_folder(folder: Path) -> None:
    """Flushes a folder to disk: a rename survives a power failure only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_file(path: Path, taken: str) -> IO[str]:
    """Locks a file until the returned stream is closed, or the process ends.

    Raises:
        InputError: another process has locked it; the message is `taken`.
    """
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise InputError(taken) from None
    return stream


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes, and decompresses `.gz` files.

    Raises:
        InputError: the file is missing, unreadable, or no complete gzip file; also during reading.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast(BinaryIO, stream)
    except FileNotFoundError:
        raise InputError(f"there is no source file {path}{describe_missing(path)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not a complete gzip file ({error}): copy or download it again"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def peek(stream: BinaryIO) -> bytes:
    """Returns the next bytes of a stream from `open_unpacked` without consuming them."""
    return cast(io.BufferedReader, stream).peek(1 << 12)


def sha256_file(path: Path) -> str:
    """Returns the hexadecimal sha256 of a file's bytes, read in blocks."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified: int, inode: int) -> str:
    # Size, time and inode are part of the cache key: a changed file is read again.
    del size, modified, inode
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def readable_bytes(count: float) -> str:
    """Formats a number of bytes: `readable_bytes(3_400_000)` is `3.2 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


@contextmanager
def clear_disk_errors(folder: Path, needed: str = "", *, resumes: bool = True) -> Iterator[None]:
    """Converts "no space left" to an `InputError`; see `no_space` for the arguments."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise no_space(folder, error, needed, resumes=resumes) from error


def no_space(
    folder: Path, error: OSError, needed: str = "", *, resumes: bool = False
) -> InputError:
    """Returns the error for a full disk.

    Args:
        folder: the output folder.
        error: the original error.
        needed: a description of the additional space needed.
        resumes: whether the same command resumes from the finished parts.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = readable_bytes(shutil.disk_usage(existing).free)
    return InputError(
        f"no space left for {folder} ({error.strerror}): {free} free{needed and '; ' + needed}. "
        "Make room (or choose another folder) and run the same command again"
        + (": finished parts are kept, and it resumes from there" if resumes else "")
    )
