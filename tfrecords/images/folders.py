"""Pictures among the files of a folder, by content, in all folders below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfrecords.errors import InputError
from tfrecords.folder_walk import walk_folder
from tfrecords.images.formats import (
    READ_FORMATS,
    SNIFFED_BYTES,
    has_image_suffix,
    sniff_format,
    unsupported,
)
from tfrecords.images.names import ALL_IMAGES_SPLIT, is_unicode, printable, read_split_lists
from tfrecords.missing_paths import check_image_folder
from tfrecords.text_files import normalize_name
from tfrecords.writing.shards import Skip, describe_skips


@dataclass(frozen=True)
class FoundImages:
    """The entries of a folder, divided.

    Attributes:
        names: of the pictures, relative to the folder, with `/` between folders; sorted.
        skipped: entries that look like pictures and cannot be read as files.
        passed_over: reason -> number of entries that are not meant to be pictures: `not_an_image`,
            `hidden`.
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
        folder: of the image files.
        lists: see `read_split_lists`; empty puts every picture of the folder into one split.
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

    A file is a picture if it begins as one, or if its name ends as that of one (then what is wrong
    with it is found out when it is read).

    Args:
        folder: where to look.
        recursive: also in the folders below it.

    Returns:
        The pictures, by `normalize_name` of their paths. Of two files whose names differ in their
        Unicode form alone, the second keeps its name as it is.

    Raises:
        InputError: there is no such folder, it cannot be listed, or it holds no picture.
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
            # Its pictures are found under their own names.
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
            f"{folder} holds no image ({', '.join(READ_FORMATS)})"
            + (f"; left out: {left_out}" if left_out else "")
            + (f"; {describe_skips(skipped, 2)}" if skipped else "")
            + hint
        )
    return FoundImages(_normalized(sorted(names)), skipped, passed_over)


def begins_as_image(path: Path) -> bool:
    """Returns whether a file is a picture of a known format, by its first bytes."""
    try:
        # Opening a pipe would wait for its writer.
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
