"""Reader of image files: search in a folder, checks, and conversion of formats for TensorFlow.

This is the only reader of image files: every command that uses pictures gets the bytes here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.folder_walk import walk_folder
from tfrecords.core.shards import Skip
from tfrecords.pictures.headers import MAX_PIXELS, TooLargeError, check_size, read_header
from tfrecords.pictures.image_formats import decodable, sniff_format, unsupported
from tfrecords.pictures.name_index import AmbiguousNameError, NameIndex, SharedForm, shared_forms

# An uncompressed pixel has at most four channels of two bytes; the rest are metadata.
_BYTES_PER_PIXEL, _METADATA_BYTES = 8, 64 << 20


@dataclass(frozen=True)
class ImageFolder:
    """The image files of a folder, by their names in lists, records and detections.

    A file is found by its path relative to the folder, with or without the folder's own name.
    Otherwise it is found by the rules of `NameIndex`: published lists contain folders (`val2014/`)
    that many users have merged into one, or the reverse.

    Attributes:
        path: path of the folder.
        recursive: whether subfolders are searched for names.
        max_pixels: images with more declared pixels are not read.
        shared: forms of names that several of the requested images have, see `shared_forms`: they
            prevent that a missing image is replaced by the picture of another one.
    """

    path: Path
    recursive: bool = True
    max_pixels: int = MAX_PIXELS
    shared: frozenset[SharedForm] = frozenset()

    def read(self, name: str) -> bytes | Skip:
        """Reads an image file.

        Args:
            name: path relative to the folder.

        Returns:
            The bytes of a JPEG, PNG, GIF, BMP or WebP (see `check_image`), or the reason for their
            absence: `missing`, `empty`, `too_large`, `unreadable`, `unsupported_format`.
        """
        try:
            path = self.locate(name)
        except AmbiguousNameError as error:
            return Skip(name, "missing", str(error))
        if not _exists(path):
            return Skip(name, "missing", f"no such file in {self.path.name}")
        return read_file(path, name, self.max_pixels)

    def locate(self, name: str) -> Path:
        """Returns the path of the file of a name, or its expected path if it does not exist.

        Raises:
            AmbiguousNameError: the name matches several files.
        """
        path = self.path / name
        # The name may include the folder's own name: `val2014/a.jpg` in `val2014`.
        inside = self.path / name.removeprefix(f"{self.path.name}/")
        for place in (path, inside):
            if _exists(place):
                return place
        found = self._index.find(name, shared=self.shared)
        return path if found is None else self.path / found

    @cached_property
    def _index(self) -> NameIndex:
        entries = walk_folder(self.path, recursive=self.recursive)
        return NameIndex((e.name for e in entries if e.kind == "file"), str(self.path))


def _exists(path: Path) -> bool:
    """Returns whether a file or link exists; True if permissions prevent the check."""
    try:
        os.lstat(path)
    except PermissionError:  # reported when the file is read
        return True
    except (OSError, ValueError):
        return False
    return True


def open_folder(
    path: Path, names: Iterable[str], *, recursive: bool = True, max_pixels: int = MAX_PIXELS
) -> ImageFolder:
    """Opens a folder for reading images of given names.

    Args:
        path: path of the folder.
        names: names of all images that will be read.
        recursive: see `ImageFolder`.
        max_pixels: see `ImageFolder`.
    """
    return ImageFolder(path.resolve(), recursive, max_pixels, shared_forms(names))


def read_file(path: Path, name: str, max_pixels: int = MAX_PIXELS) -> bytes | Skip:
    """Reads one image file.

    Args:
        path: path of the file.
        name: name of the image in messages.
        max_pixels: see `tfrecords.pictures.headers`.

    Returns:
        See `ImageFolder.read`.
    """
    try:
        status = path.stat()
        # Reading a pipe or a device would never end.
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            return Skip(name, "unreadable", f"it is {kind}, not a file")
        if status.st_size > _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES:
            detail = f"{status.st_size} bytes for at most {max_pixels} pixels"
            return Skip(name, "too_large", detail)
        data = path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            return Skip(name, "missing", f"a dangling link to {path.readlink()}")
        return Skip(name, "missing", f"no such file in {path.parent.name or path.parent}")
    except OSError as error:
        return Skip(name, "unreadable", error.strerror or str(error))
    except ValueError as error:  # a name with a zero byte
        return Skip(name, "missing", str(error))
    return check_image(name, data, max_pixels)


def check_image(name: str, data: bytes, max_pixels: int = MAX_PIXELS) -> bytes | Skip:
    """Checks the header of an image and converts formats that TensorFlow does not decode.

    Args:
        name: name of the image.
        data: the encoded image.
        max_pixels: see `tfrecords.pictures.headers`.

    Returns:
        The bytes, which TensorFlow can decode: unchanged for JPEG, PNG, GIF, BMP of 24 bits and
        WebP, and the first frame as an upright PNG for all other formats. Otherwise a `Skip` with
        the reason.
    """
    if not data:
        return Skip(name, "empty", "the file has zero bytes")
    found = sniff_format(data, name)
    if reason := unsupported(found, name):
        return Skip(name, "unsupported_format", reason)
    try:
        data = decodable(data, found, max_pixels)
        check_size(read_header(data), max_pixels)
    except TooLargeError as error:
        return Skip(name, "too_large", str(error))
    except InputError as error:
        return Skip(name, "unreadable", str(error))
    return data
