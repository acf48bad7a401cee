"""Names of images in folders, lists, and files of captions or detections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import normalize_name, numbered_lines

# Not `all`, which TensorFlow Datasets interprets as all splits together.
ALL_IMAGES_SPLIT = "images"


def parse_splits(texts: Sequence[str]) -> dict[str, Path]:
    """Parses a list of `SPLIT=FILE`.

    Raises:
        InputError: an item is malformed, or a split is given twice.
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
    """Returns the names that can be stored, and a `Skip` for each name that is not UTF-8."""
    readable, skipped = [], []
    for name in names:
        if is_unicode(name):
            readable.append(name)
        else:
            skipped.append(Skip(printable(name), "undecodable", "the name is not UTF-8"))
    return readable, skipped


def read_split_lists(splits: Mapping[str, Path]) -> dict[str, list[str]]:
    """Reads the image names of each split.

    Args:
        splits: split -> file with one image name per line, relative to the folder of images.

    Raises:
        InputError: a list cannot be read or is empty, a name is repeated or outside of the
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
                    f"{path}:{number}: {name[:200]!r} is outside of the folder of images; names "
                    "are relative to that folder and have no `..`"
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


def base_name(name: str) -> str:
    """Returns the file name of a normalized path, without its folders."""
    return name.rpartition("/")[2]


def is_image_name(name: object) -> bool:
    """Returns whether a text is a valid image name: a path inside the folder of images.

    Names in files of detections become names of files to open.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or not is_unicode(name):
        return False
    path = PurePosixPath(normalize_name(name))
    return not path.is_absolute() and ".." not in path.parts and path.name != ""


def is_unicode(text: str) -> bool:
    """Returns whether a text can be stored: it contains no half of a surrogate pair.

    JSON can contain such halves, and Python uses them for file names that are not UTF-8.
    """
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def printable(name: str) -> str:
    """Returns a printable file name, with escapes for bytes that are not UTF-8."""
    return name.encode(errors="backslashreplace").decode()
