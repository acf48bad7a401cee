"""How images are called: in their folder, in lists of them and in files that speak of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrecords.errors import InputError
from tfrecords.images.formats import IMAGE_SUFFIXES
from tfrecords.text_files import normalize_name, numbered_lines
from tfrecords.writing.shards import Skip

# Not `all`, which TensorFlow Datasets takes for all splits together.
ALL_IMAGES_SPLIT = "images"


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


def readable_names(names: Iterable[str]) -> tuple[list[str], list[Skip]]:
    """Divides names into those that can be stored, and a `Skip` for each that is not UTF-8."""
    readable, skipped = [], []
    for name in names:
        if is_unicode(name):
            readable.append(name)
        else:
            skipped.append(Skip(printable(name), "undecodable", "the name is not UTF-8"))
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
    """Finds the image that another file means by a name.

    A name means the image of that name; else the one image of that name without its suffix (`42`
    for `42.jpg`); else the one image whose path ends with it, or that it ends with (`val2014/a.jpg`
    and `a.jpg`). Names are compared as `normalize_name` spells them.
    """

    def __init__(self, names: Iterable[str] | None, what: str = "the detections") -> None:
        """Takes the names of the images.

        Args:
            names: relative to their folder; None takes every name as it is.
            what: names the other file in messages.
        """
        self._what = what
        self._names: dict[str, str] | None = None
        self._spellings = frozenset(names or ())
        self._by_base: dict[str, list[str]] = defaultdict(list)
        if names is not None:
            self._names = {}
            for name in sorted(self._spellings, key=lambda name: normalize_name(name) != name):
                self._names.setdefault(normalize_name(name), name)
            for key in self._names:
                base = base_name(key)
                for form in {base, _stem(base)}:
                    self._by_base[form].append(key)

    def __call__(self, name: str) -> str | None:
        """Returns the name of the image, or None.

        Raises:
            InputError: the name stands for several images.
        """
        if name in self._spellings:
            return name
        key = normalize_name(name)
        if self._names is None:
            return key
        if key in self._names:
            return self._names[key]
        candidates = self._by_base.get(base_name(key), ())
        found = [n for n in candidates if same_end(n, key) or same_end(_stem(n), key)]
        # Without its suffix a name is a whole path before it is the end of one.
        whole = [n for n in found if _stem(n) == key]
        if len(found := whole or found) > 1:
            raise InputError(
                f"{self._what} name {name!r}, which may be any of the images "
                f"{', '.join(sorted(found)[:3])}: give the folder and the suffix too, or keep one "
                "of them"
            )
        return self._names[found[0]] if found else None


def same_end(one: str, other: str) -> bool:
    """Returns whether one of two paths ends with the other, folder by folder."""
    long, short = f"/{one}", f"/{other}"
    return long.endswith(short) or short.endswith(long)


def base_name(name: str) -> str:
    """Returns the file name of a normalized path, without its folders."""
    return name.rpartition("/")[2]


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
    path = PurePosixPath(normalize_name(name))
    return not path.is_absolute() and ".." not in path.parts and path.name != ""


def is_unicode(text: str) -> bool:
    """Returns whether a text can be stored: it holds no half of a surrogate pair.

    JSON can spell such halves, and Python reads file names with them that are not UTF-8.
    """
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def printable(name: str) -> str:
    """Returns a file name as it can be printed and stored, with escapes for what is not UTF-8."""
    return name.encode(errors="backslashreplace").decode()
