"""Log of captions of image files: JSON Lines, from which an interrupted process resumes.

`captions.jsonl` has one line per image, in the order of the images. `captions.settings.json`
contains the settings that determine the captions. A call with equal settings resumes after the last
complete line; other calls do not mix their captions with these.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from absl import logging

from r2m.evaluation.output_files import encode_text, write_whole
from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors
from tfrecords.pictures.named_images import ImageFile

LINES_FILE = "captions.jsonl"
SETTINGS_FILE = "captions.settings.json"


class CaptionLog:
    """Captions of a list of images on disk; a context manager.

    Attributes:
        path: path of the file of JSON Lines.
        count: number of images whose captions it contains.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[ImageFile],
        settings: Mapping[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        """Opens the captions in a folder, or starts new ones.

        Finished captions of other images or settings are replaced.

        Args:
            folder: existing folder.
            files: the images, in the order of their captions.
            settings: settings that determine the captions, as JSON.
            overwrite: whether existing captions are always replaced.

        Raises:
            InputError: another process writes to the folder, or the folder contains unfinished
                captions of other images or settings.
        """
        self.path, self._settings_path = folder / LINES_FILE, folder / SETTINGS_FILE
        self._files = files
        self._stream: BinaryIO = self.path.open("ab+")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise InputError(
                f"{self.path}: another process is writing captions to it; wait for it, or give "
                "another --output"
            ) from None
        wanted = {"images": len(files), "image_list": _digest(files), **settings}
        try:
            self.count = 0 if overwrite else self._resume(json.loads(json.dumps(wanted)))
        except InputError:
            self._stream.close()
            raise
        if self.count == 0:
            self._stream.truncate(0)
            write_whole(self._settings_path, json.dumps(wanted, indent=1) + "\n")

    def __enter__(self) -> CaptionLog:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file and keeps its captions."""
        self._stream.close()
        if kind is KeyboardInterrupt:
            logging.warning(
                "%s contains the captions of %d of %d images: start the same command again to "
                "resume",
                self.path, self.count, len(self._files),
            )  # fmt: skip

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes captions of the next images, which are on disk when it returns.

        Raises:
            InputError: the disk is full.
        """
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        with clear_disk_errors(self.path.parent):
            self._stream.write(encode_text("".join(lines)))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self.count += len(lines)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Reads the captions, one image after the other."""
        with self.path.open("rb") as stream:
            for line in stream:
                yield json.loads(line)

    def _resume(self, wanted: Mapping[str, Any]) -> int:
        """Returns how many images already have captions; 0 if new captions are to be started."""
        found = _read_settings(self._settings_path)
        lines = [] if found is None else list(self._whole_lines())
        if found is None or not lines:
            return 0
        differ = [key for key in (*wanted, *found) if wanted.get(key) != found.get(key)]
        if not differ:
            self._check_order([name for name, _ in lines])
            # The start of the next line, if the process ended while writing it, or a damaged line.
            self._stream.truncate(lines[-1][1])
            logging.info("%s: resuming after %d of %d", self.path, len(lines), len(self._files))
            return len(lines)
        if len(lines) < found.get("images", 0):
            listed = ", ".join(dict.fromkeys(differ))
            raise InputError(
                f"{self.path} contains the captions of {len(lines)} of {found['images']} images, "
                f"which were made with other settings or images (different: {listed}): finish them "
                "with the same command, start again with --overwrite, or give another --output"
            )
        logging.info("%s: replacing the captions of other images or settings", self.path)
        return 0

    def _check_order(self, names: Sequence[str]) -> None:
        """Raises `InputError` unless the lines caption the first images, in order."""
        expected = [file.name for file in self._files[: len(names)]]
        if names == expected:
            return
        number = next(
            (
                n
                for n, (one, other) in enumerate(zip(names, expected, strict=False))
                if one != other
            ),
            len(expected),
        )
        wanted = f"the caption of {expected[number]!r}" if number < len(expected) else "expected"
        raise InputError(
            f"{self.path}: line {number + 1} is not {wanted}: the file was changed; start "
            "again with --overwrite"
        )

    def _whole_lines(self) -> Iterator[tuple[str, int]]:
        """Yields the image and the end offset of each line, up to the first damaged line."""
        end = 0
        self._stream.seek(0)
        for line in self._stream:
            end += len(line)
            try:
                name = json.loads(line)["image_id"]
            except (ValueError, TypeError, KeyError):
                return
            if not line.endswith(b"\n"):
                return
            yield name, end


def _read_settings(path: Path) -> dict[str, Any] | None:
    """Returns the settings of earlier captions; None without earlier captions."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _digest(files: Iterable[ImageFile]) -> str:
    """Returns a checksum of the names, sizes and times of image files."""
    found = hashlib.sha256()
    for file in files:
        try:
            status = file.path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        found.update(encode_text(f"{file.name}\0{state}\n"))
    return found.hexdigest()
