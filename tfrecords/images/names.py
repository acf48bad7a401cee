"""How images are called: in their folder, in lists of them and in files that speak of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrecords.errors import InputError
from tfrecords.text_files import normalize_name, numbered_lines
from tfrecords.writing.shards import Skip

# Not `all`, which TensorFlow Datasets takes for all splits together.
ALL_IMAGES_SPLIT = "images"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


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


def list_images(
    folder: Path, lists: Mapping[str, Path], *, recursive: bool = False
) -> tuple[dict[str, list[str]], list[Skip]]:
    """The names of the images of each split.

    Args:
        folder: of the image files.
        lists: see `read_split_lists`; empty puts every image of the folder into one split.
        recursive: see `find_images`.

    Returns:
        Split -> names, and a `Skip` for each name that is no text.

    Raises:
        InputError: see `find_images` and `read_split_lists`.
    """
    if lists:
        if not folder.is_dir():
            raise InputError(f"there is no folder of images {folder}")
        return read_split_lists(lists), []
    names, skipped = find_images(folder, recursive=recursive)
    return {ALL_IMAGES_SPLIT: names}, skipped


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
        names[split] = []
        for number, line in numbered_lines(path, f"list of {split} images"):
            name = normalize_name(line.strip())
            if not name:
                continue
            if not is_image_name(name):
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


class ImageNames:
    """Finds the image that a file of detections means by a name, with or without a suffix."""

    def __init__(self, names: Iterable[str] | None) -> None:
        """`names`: those of the images; None takes every name as it is."""
        self._names = None if names is None else frozenset(names)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self._names or ():
            self._by_stem[_stem(name)].append(name)

    def __call__(self, name: str) -> str | None:
        """The name of the image, or None.

        Raises:
            InputError: the name stands for several images.
        """
        if self._names is None or name in self._names:
            return name
        if _stem(name) != name:
            return None
        found = self._by_stem.get(name, [])
        if len(found) > 1:
            raise InputError(
                f"the detections speak of {name!r}, which may be any of the images "
                f"{', '.join(sorted(found)[:3])}: keep one of them"
            )
        return found[0] if found else None


def _stem(name: str) -> str:
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def is_image_name(name: object) -> bool:
    """Whether a text can name an image: a path into a folder of images that stays in there.

    Names out of files of detections become names of files to open.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or not is_unicode(name):
        return False
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and path.name != ""


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: JSON can spell half of a surrogate pair, which none can."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)
