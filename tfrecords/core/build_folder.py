"""The folder of a build, from the first byte to the rename that publishes it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.files import lock_file, make_folder, sha256_file, sync_folder, write_atomically
from tfrecords.core.folder_walk import walk_folder
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.records import (
    FORMAT_VERSION,
    MANIFEST,
    Records,
    incomplete_folder,
    open_records,
)
from tfrecords.core.shards import Skip, refuse_faults, refuse_skips

STATE = ".state"
_PLAN, _LOCK = "plan.json", "lock"


@dataclass(kw_only=True)
class Build:
    """An unfinished build, locked by this process. As a context manager it unlocks on exit.

    Attributes:
        folder: folder of the finished records.
        incomplete: folder of the records until they are finished.
        state: reports on finished parts; removed when the build is finished.
        kind: the kind of records.
        name: the first part of the shard names.
        options: options that determine the bytes of the records, in addition to the sources.
        fingerprint: sha256 of everything that determines the bytes of the records.
        sources: description of each source: path, bytes, sha256.
        strict: whether an unusable input is an error.
        started: start of this process's work on the build (`time.monotonic`, seconds).
    """

    folder: Path
    incomplete: Path
    state: Path
    kind: str
    name: str
    options: dict[str, Any]
    fingerprint: str
    sources: list[dict[str, Any]]
    lock: IO[str]
    strict: bool = False
    started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Build:
        """Returns the build, which was locked when it was opened."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unlocks the build."""
        self.lock.close()


def open_build(
    folder: Path,
    *,
    kind: str,
    name: str,
    options: Mapping[str, Any],
    sources: Sequence[str | Path],
    overwrite: bool,
    strict: bool = False,
) -> Build | Records:
    """Starts a build, resumes an interrupted one, or returns the records if they are finished.

    See `tfrecords.core.writer.write_dataset` for the arguments.

    Raises:
        InputError: TFDS could not parse a name; a source is missing; the folder contains another
            finished build or, with `strict`, one with skipped inputs; or another process is
            building the same folder.
    """
    check_name("name", name)
    folder = folder.absolute()
    _put_back(folder)
    described = [_describe_source(Path(source)) for source in sources]
    fingerprint = _fingerprint(kind, name, options, described)
    finished = _finished(folder, kind, fingerprint, overwrite)
    if finished is not None:
        if strict:
            refuse_skips([Skip(**skip) for skip in finished.manifest["skipped"]["list"]])
            refuse_faults(finished.manifest["skipped"]["counts"])
        return finished
    incomplete = incomplete_folder(folder)
    state = incomplete / STATE
    make_folder(state)
    lock = lock_file(
        state / _LOCK,
        f"another process is building {folder} right now: wait for it or stop it",
    )
    plan = state / _PLAN
    if plan.exists() and plan.read_text() != fingerprint:
        logging.info("%s was started with other options or sources: starting again", incomplete)
        _clear(incomplete)
    if not plan.exists():
        # Without a plan the origin of the files is unknown.
        _clear(incomplete)
        write_atomically(plan, fingerprint.encode())
    return Build(
        folder=folder,
        incomplete=incomplete,
        state=state,
        kind=kind,
        name=name,
        options=dict(options),
        fingerprint=fingerprint,
        sources=described,
        lock=lock,
        strict=strict,
    )


def check_name(what: str, value: str) -> None:
    """Checks a name that becomes part of shard names.

    Raises:
        InputError: TFDS could not parse the name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise InputError(
            f"{what} {value!r} cannot be used: it becomes part of file names that TFDS parses; "
            "use lower-case letters, digits and _, starting with a letter"
        )
    if what == "split" and value == "all":
        raise InputError("a split cannot be named `all`, which TFDS reads as all splits together")


def publish(build: Build) -> None:
    """Renames the finished build to its folder, replacing an old one."""
    sync_folder(build.incomplete)
    old = _replaced(build.folder)
    if build.folder.exists():
        build.folder.rename(old)
    build.incomplete.rename(build.folder)
    sync_folder(build.folder.parent)
    shutil.rmtree(build.folder / STATE)
    if old.exists():
        shutil.rmtree(old)


def _put_back(folder: Path) -> None:
    # A process that died between the two renames of publish() leaves the old records there.
    old = _replaced(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)


def _replaced(folder: Path) -> Path:
    return folder.with_name(folder.name + ".replaced")


def _finished(folder: Path, kind: str, fingerprint: str, overwrite: bool) -> Records | None:
    if not folder.exists():
        return None
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} exists, but is not a folder of finished records "
            f"(no {MANIFEST}); move it away or choose another folder"
        )
    try:
        records = open_records(folder)
    except InputError as error:
        if overwrite:
            return None
        hint = "" if "--overwrite" in str(error) else " (to build it again: --overwrite)"
        raise InputError(f"{error}{hint}") from None
    if records.kind != kind:
        # --overwrite is meant for another build of the same records.
        raise InputError(
            f"{folder} contains {records.kind!r} records, not {kind!r} records; "
            "choose another --output, or move it away"
        )
    if records.manifest.get("fingerprint") == fingerprint and records.kind == kind:
        logging.info("%s is already built from the same options and sources", folder)
        shutil.rmtree(folder / STATE, ignore_errors=True)
        return records
    if overwrite:
        return None
    raise InputError(
        f"{folder} was already built from other options or sources "
        f"(see {MANIFEST} in it); choose another --output, or replace it with --overwrite"
    )


def _clear(incomplete: Path) -> None:
    for item in (*incomplete.iterdir(), *(incomplete / STATE).iterdir()):
        if item.name not in (STATE, _LOCK):
            shutil.rmtree(item) if item.is_dir() else item.unlink()


def _describe_source(path: Path) -> dict[str, Any]:
    if path.is_dir():
        # Hash the listing instead of the content, to avoid reading every image.
        names = sorted(entry.name for entry in walk_folder(path) if entry.kind == "file")
        items = [(name, path / name) for name in names]
        sizes = [(name, item.stat().st_size) for name, item in items if item.is_file()]
        listing = "".join(f"{name}\t{size}\n" for name, size in sizes)
        return {
            "path": str(path),
            "files": len(sizes),
            "bytes": sum(size for _, size in sizes),
            "sha256_of_listing": hashlib.sha256(os.fsencode(listing)).hexdigest(),
        }
    if not path.is_file():
        raise InputError(f"there is no source file {path}{describe_missing(path)}")
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _fingerprint(
    kind: str, name: str, options: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]
) -> str:
    # The records depend on the content of a source, not on its path.
    content = [{key: s[key] for key in s if key != "path"} for s in sources]
    names = [Path(s["path"]).name for s in sources]
    plan = [FORMAT_VERSION, kind, name, dict(options), names, content]
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
