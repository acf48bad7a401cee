"""Image files: their bytes, or why they have none."""

from __future__ import annotations

import stat
from pathlib import Path

from tfrecords.errors import InputError
from tfrecords.images.headers import MAX_PIXELS, check_size, read_header
from tfrecords.writing.shards import Skip

# An uncompressed pixel has at most four channels of two bytes; the rest is for what comes with it.
_BYTES_A_PIXEL, _BYTES_BESIDE = 8, 64 << 20


def read_image(folder: Path, name: str, max_pixels: int = MAX_PIXELS) -> bytes | Skip:
    """The bytes of an image file whose header says that it can be decoded.

    Args:
        folder: of the images.
        name: of the file, relative to it.
        max_pixels: see `tfrecords.images.headers`.

    Returns:
        The bytes, or why there are none: `missing`, `empty`, `too_large`, `unreadable`.
    """
    path = folder / name
    try:
        status = path.stat()
        # Reading a pipe or a device would never end.
        if not stat.S_ISREG(status.st_mode):
            return Skip(name, "unreadable", "it is no file")
        if status.st_size > _BYTES_A_PIXEL * max_pixels + _BYTES_BESIDE:
            detail = f"{status.st_size} bytes for at most {max_pixels} pixels"
            return Skip(name, "too_large", detail)
        data = path.read_bytes()
    except FileNotFoundError:
        return Skip(name, "missing", f"no such file in {folder.name}")
    except OSError as error:
        return Skip(name, "unreadable", str(error))
    return check_image(name, data, max_pixels)


def check_image(name: str, data: bytes, max_pixels: int = MAX_PIXELS) -> bytes | Skip:
    """The bytes of an image whose header says that it can be decoded, or why it cannot.

    Args:
        name: of the image.
        data: the encoded image.
        max_pixels: see `tfrecords.images.headers`.
    """
    if not data:
        return Skip(name, "empty", "the file has zero bytes")
    try:
        header = read_header(data)
    except InputError as error:
        return Skip(name, "unreadable", str(error))
    try:
        check_size(header, max_pixels)
    except InputError as error:
        return Skip(name, "too_large", str(error))
    return data
