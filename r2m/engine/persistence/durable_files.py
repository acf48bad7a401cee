"""Atomic, durable writes of files, with errors that name the file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from r2m.engine.errors import TrainingError, plain_message
from r2m.engine.persistence.checkpoint_folders import UNFINISHED


@contextlib.contextmanager
def clear_write_errors(path: Path, hint: str = "make room or give access") -> Iterator[None]:
    """Converts a failure to write to `path`, such as a full disk, to a TrainingError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise TrainingError(
            f"cannot write {path}: {_reason(error)}; {hint}, then start the same command again"
        ) from error


def _reason(error: OSError | tf.errors.OpError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # The name of a temporary file may precede the reason.
    return plain_message(error.message).rpartition("; ")[2]


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Creates and locks `folder`, because two runs in one folder would corrupt each other's files.

    The lock ends with the process, however it ends.
    """
    with clear_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another process is training in {folder}") from error
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, contents: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(contents, indent=2) + "\n").encode())


def write_bytes(path: Path, contents: bytes) -> None:
    """Writes a file whole or not at all."""
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    unfinished.write_bytes(contents)
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> dict[str, Any]:
    """Returns size and sha256 of a file."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return {"bytes": path.stat().st_size, "sha256": sha256.hexdigest()}
