"""How images are called: in their folder, in lists of them and in files that speak of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from tfrecords.errors import InputError

ALL_IMAGES_SPLIT = "all"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def list_images(folder: Path, lists: Mapping[str, Path]) -> dict[str, list[str]]:
    """The names of the images of each split.

    Args:
        folder: of the image files.
        lists: split -> file with a name a line, relative to the folder; empty puts every image of
            the folder into the one split `all`.

    Raises:
        InputError: no image, a list that cannot be read, an image listed twice, or a name that
            leads out of the folder.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder of images {folder}")
    if not lists:
        files = sorted(path.name for path in folder.iterdir() if _is_image_file(path))
        if not files:
            raise InputError(
                f"{folder} holds no image ({', '.join(s[1:] for s in IMAGE_SUFFIXES)})"
            )
        if odd := [name for name in files if not is_unicode(name)]:
            raise InputError(f"{folder}: the file name {odd[0]!r} is no UTF-8; rename it")
        return {ALL_IMAGES_SPLIT: files}
    return read_lists(lists)


def read_lists(lists: Mapping[str, Path]) -> dict[str, list[str]]:
    """The names in files with a name a line, by split; see `list_images`."""
    splits: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for split, path in lists.items():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the list of {split} images {path}: {error}") from error
        names: list[str] = []
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name:
                continue
            if not is_image_name(name):
                raise InputError(
                    f"{path}:{number}: {name[:200]!r} leads out of the folder of images; names are "
                    "relative to it"
                )
            if name in owner:
                raise InputError(
                    f"{path}:{number}: image {name!r} is already in split {owner[name]!r}; "
                    "an image belongs to one split, once"
                )
            owner[name] = split
            names.append(name)
        if not names:
            raise InputError(f"the list of {split} images {path} is empty")
        splits[split] = names
    return splits


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


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


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
