"""Image files: which there are, in which split each is, and their bytes or why they have none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrecords.errors import InputError
from tfrecords.image_headers import MAX_PIXELS, check_size, read_header
from tfrecords.shards import Skip

ALL_IMAGES_SPLIT = "all"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

# An uncompressed pixel has at most four channels of two bytes; the rest is for what comes with it.
_BYTES_A_PIXEL, _BYTES_BESIDE = 8, 64 << 20


def parse_splits(texts: Sequence[str]) -> dict[str, Path]:
    """The splits that a list of `SPLIT=FILE` names.

    Raises:
        InputError: one is not of that form, or a split comes twice.
    """
    splits: dict[str, Path] = {}
    for text in texts:
        split, equals, path = text.partition("=")
        if not (split and equals and path):
            raise InputError(f"expected SPLIT=FILE (train=train.txt), found {text!r}")
        if split in splits:
            raise InputError(f"split {split!r} was given two lists: {splits[split]} and {path}")
        splits[split] = Path(path)
    return splits


def find_images(folder: Path, *, recursive: bool = False) -> tuple[list[str], list[Skip]]:
    """The image files of a folder, sorted, by their names relative to it.

    Args:
        folder: where to look.
        recursive: also in the folders in it (links to folders are not followed).

    Returns:
        The names (with `/` between folders), and a `Skip` for each that is no text.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder of images {folder}")
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder).as_posix()
        prefix = "" if inside == "." else inside + "/"
        found += [prefix + name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
        if not recursive:
            folders.clear()
    names, skipped = readable_names(sorted(found))
    if not names:
        raise InputError(
            f"{folder} holds no image ({', '.join(s[1:] for s in IMAGE_SUFFIXES)})"
            + ("" if recursive else "; images in folders below it are not looked for")
        )
    return names, skipped


def readable_names(names: Iterable[str]) -> tuple[list[str], list[Skip]]:
    """Names of images that are text, and a `Skip` for each that is not (it was no UTF-8)."""
    readable, skipped = [], []
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            printable = name.encode(errors="backslashreplace").decode()
            skipped.append(Skip(printable, "undecodable", "the name is not UTF-8"))
        else:
            readable.append(name)
    return readable, skipped


def read_split_lists(splits: Mapping[str, Path]) -> dict[str, list[str]]:
    """The image names of each split.

    Args:
        splits: split -> file with an image name a line, relative to the folder of images.

    Raises:
        InputError: a list cannot be read or is empty, a name comes twice or leads out of the
            folder; names the line.
    """
    names: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for split, path in splits.items():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the list of {split} images {path}: {error}") from error
        names[split] = []
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name:
                continue
            if not is_inside(name):
                raise InputError(
                    f"{path}:{number}: {name[:200]!r} leads out of the folder of images; names are "
                    "relative to that folder and have no `..`"
                )
            if name in owner:
                raise InputError(
                    f"{path}:{number}: image {name!r} is already in split {owner[name]!r}; "
                    "an image belongs to one split, once"
                )
            owner[name] = split
            names[split].append(name)
        if not names[split]:
            raise InputError(f"the list of {split} images {path} is empty")
    return names


def is_inside(name: str) -> bool:
    """Whether a file name that somebody else wrote stays in the folder it is relative to."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\0" in name or path.name == "")


def read_image(folder: Path, name: str, max_pixels: int = MAX_PIXELS) -> bytes | Skip:
    """The bytes of an image file whose header says that it can be decoded.

    Args:
        folder: of the images.
        name: of the file, relative to it.
        max_pixels: see `tfrecords.image_headers`.

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
        max_pixels: see `tfrecords.image_headers`.
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
