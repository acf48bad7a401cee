"""Search for pictures in a folder and its subfolders, by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.folder_walk import walk_folder
from tfrecords.core.missing_paths import check_image_folder
from tfrecords.core.shards import Skip, describe_skips
from tfrecords.core.text_files import normalize_name
from tfrecords.pictures.image_formats import (
    READ_FORMATS,
    SNIFFED_BYTES,
    has_image_suffix,
    sniff_format,
    unsupported,
)
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT, is_unicode, printable, read_split_lists


@dataclass(frozen=True)
class FoundImages:
    """The entries of a folder, by kind.

    Attributes:
        names: names of the pictures, relative to the folder, with `/` between folders; sorted.
        skipped: entries that look like pictures but cannot be read as files.
        passed_over: reason -> number of entries that are not pictures: `not_an_image`, `hidden`.
    """

    names: list[str]
    skipped: list[Skip] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ListedImages:
    """The pictures of each split.

    Attributes:
        splits: split -> names relative to the folder.
        skipped: see `FoundImages`.
        passed_over: see `FoundImages`.
    """

    splits: dict[str, list[str]]
    skipped: list[Skip] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def list_images(folder: Path, lists: Mapping[str, Path], *, recursive: bool = True) -> ListedImages:
    """Finds the pictures of each split.

    Args:
        folder: folder of the image files.
        lists: see `read_split_lists`; if empty, every picture of the folder is in one split.
        recursive: see `find_images`.

    Raises:
        InputError: see `find_images` and `read_split_lists`.
    """
    if lists:
        check_image_folder(folder)
        return ListedImages(read_split_lists(lists))
    found = find_images(folder, recursive=recursive)
    return ListedImages({ALL_IMAGES_SPLIT: found.names}, found.skipped, found.passed_over)


def find_images(folder: Path, *, recursive: bool = True) -> FoundImages:
    """Finds the pictures of a folder.

    A file is a picture if its content or its name looks like one. A file with the name of a picture
    but other content is reported when it is read.

    Args:
        folder: the folder to search.
        recursive: whether to search the subfolders too.

    Returns:
        The pictures, by `normalize_name` of their paths. If the names of two files differ only in
        their Unicode form, the second keeps its original name.

    Raises:
        InputError: the folder does not exist, cannot be listed, or contains no picture.
    """
    check_image_folder(folder)
    names: list[str] = []
    skipped: list[Skip] = []
    passed_over: Counter[str] = Counter()
    for entry in walk_folder(folder, recursive=recursive):
        if entry.kind == "hidden":
            passed_over["hidden"] += 1
        elif entry.fault is not None:
            if not entry.name:
                raise InputError(f"the folder of images {folder} cannot be listed: {entry.fault}")
            skipped.append(Skip(printable(entry.name), "unreadable", entry.fault))
        elif entry.kind == "folder":
            # The pictures in this folder are listed separately.
            if has_image_suffix(entry.name):
                detail = "it is a folder, not a file"
                skipped.append(Skip(printable(entry.name), "unreadable", detail))
        elif not has_image_suffix(entry.name) and not begins_as_image(folder / entry.name):
            passed_over["not_an_image"] += 1
        elif not is_unicode(entry.name):
            detail = "the name is not UTF-8"
            skipped.append(Skip(printable(entry.name), "undecodable", detail))
        else:
            names.append(entry.name)
    if not names:
        hint = "" if recursive else "; folders below it are not searched (--norecursive)"
        left_out = ", ".join(f"{count} {reason}" for reason, count in passed_over.items())
        raise InputError(
            f"{folder} contains no images ({', '.join(READ_FORMATS)})"
            + (f"; left out: {left_out}" if left_out else "")
            + (f"; {describe_skips(skipped, 2)}" if skipped else "")
            + hint
        )
    return FoundImages(_normalized(sorted(names)), skipped, passed_over)


def begins_as_image(path: Path) -> bool:
    """Returns whether a file is a picture of a known format, by its first bytes."""
    try:
        # Opening a pipe would block until it has a writer.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            head = stream.read(SNIFFED_BYTES)
    except OSError:
        return False
    found = sniff_format(head, path.name)
    return found is not None or unsupported(found, path.name) is not None


def _normalized(names: list[str]) -> list[str]:
    taken = set(names)
    found = []
    for name in names:
        normal = normalize_name(name)
        if normal != name and normal not in taken:
            taken.add(normal)
            name = normal
        found.append(name)
    return sorted(found)
