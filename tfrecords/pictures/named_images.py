"""Image files named on a command line: folders, lists and single files, with unique names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import normalize_name, numbered_lines
from tfrecords.pictures.image_files import ImageFolder, open_folder, read_file
from tfrecords.pictures.image_folders import begins_as_image, find_images
from tfrecords.pictures.image_formats import has_image_suffix
from tfrecords.pictures.image_names import is_image_name
from tfrecords.pictures.name_index import AmbiguousNameError


class ImageSource(Protocol):
    """A source from which an image can be read."""

    @property
    def name(self) -> str:
        """The unique name of the image in detections and messages."""

    def read(self) -> bytes | Skip:
        """Returns the encoded image; see `tfrecords.pictures.image_files.read_file`."""


class ImageFile(NamedTuple):
    """A requested image file, which may be unreadable.

    Attributes:
        name: unique name: the path relative to the folder, or the text in the list.
        path: path of the file.
        fault: the reason why it cannot be an image, if known before reading.
    """

    name: str
    path: Path
    fault: Skip | None = None

    def read(self) -> bytes | Skip:
        """Reads the file; see `tfrecords.pictures.image_files.read_file`."""
        return read_file(self.path, self.name) if self.fault is None else self.fault


class ImageFiles(NamedTuple):
    """The requested image files.

    Attributes:
        files: sorted by name for a folder, in the order of a list; names are unique.
        passed_over: reason -> number of entries of a folder that are not pictures.
    """

    files: list[ImageFile]
    passed_over: Counter[str]


def image_files(source: Path, *, recursive: bool = True) -> ImageFiles:
    """Lists the images of a folder, of a text file with one name per line, or a single image.

    Args:
        source: the folder or file. Names in a list are relative to the folder of the list.
        recursive: whether to search subfolders, for lists only if an image is not at the listed
            path.

    Raises:
        InputError: the folder or file does not exist, contains no image, none of the listed files
            exists, or one is listed twice.
    """
    if source.is_dir():
        found = find_images(source, recursive=recursive)
        folder = ImageFolder(source, recursive)
        files = [ImageFile(name, folder.locate(name)) for name in found.names]
        files += [ImageFile(skip.source, source / skip.source, skip) for skip in found.skipped]
        return ImageFiles(sorted(files, key=lambda file: file.name), found.passed_over)
    if not os.path.lexists(source):
        raise InputError(
            f"{source}: no such folder of images, list of image files or image"
            + describe_missing(source)
        )
    if has_image_suffix(source.name) or begins_as_image(source):
        return ImageFiles([ImageFile(normalize_name(source.name), source)], Counter())
    return ImageFiles(_listed(source, recursive), Counter())


def named_files(sources: Sequence[Path], *, recursive: bool = True) -> ImageFiles:
    """Lists the images of several folders, lists and files; see `image_files`.

    If names would repeat, all names are relative to the common parent folder.

    Raises:
        InputError: see `image_files`; or no source is given, or an image is named twice: by one
            name, or by two sources.
    """
    if not sources:
        raise InputError("no images were given: give image files or folders of image files")
    files: list[ImageFile] = []
    places: list[str] = []
    passed_over: Counter[str] = Counter()
    known: set[Path] = set()
    shared = False
    for source in sources:
        found = image_files(source, recursive=recursive)
        own = {file.path.parent.resolve() / file.path.name for file in found.files}
        shared |= not known.isdisjoint(own)
        known |= own
        files += found.files
        places += [str(source)] * len(found.files)
        passed_over += found.passed_over
    if shared or len({file.name for file in files}) < len(files):
        files = _relative(files)
    _check_unique(files, places)
    return ImageFiles(files, passed_over)


def _listed(source: Path, recursive: bool) -> list[ImageFile]:
    names: list[str] = []
    places: list[str] = []
    for number, line in numbered_lines(source, "list of image files"):
        if name := normalize_name(line.strip()):
            names.append(name)
            places.append(f"{source}:{number}")
    if not names:
        raise InputError(f"{source}: the list contains no image names")
    folder = open_folder(source.parent, names, recursive=recursive)
    files = [_located(folder, name) for name in names]
    if not any(os.path.lexists(file.path) for file in files):
        raise InputError(
            f"{source}: none of the {len(files)} images listed exists, the first is "
            f"{files[0].path}; a file that is not an image is read as a list of images, whose "
            "names are relative to its folder"
        )
    outside = iter(_relative([file for file in files if not is_image_name(file.name)]))
    files = [file if is_image_name(file.name) else next(outside) for file in files]
    _check_unique(files, places)
    return files


def _located(folder: ImageFolder, name: str) -> ImageFile:
    try:
        return ImageFile(name, folder.locate(name))
    except AmbiguousNameError as error:
        return ImageFile(name, folder.path / name, Skip(name, "missing", str(error)))


def _relative(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Returns the files, named by their paths relative to their common parent folder."""
    if not files:
        return []
    # Resolve only the folder: the file may be a (dangling) link.
    folders = [file.path.parent.resolve() for file in files]
    top = os.path.commonpath(folders)
    return [
        file._replace(name=normalize_name((folder.relative_to(top) / file.path.name).as_posix()))
        for file, folder in zip(files, folders, strict=True)
    ]


def _check_unique(files: Sequence[ImageFile], places: Sequence[str]) -> None:
    """Raises `InputError` if two files have the same name; names both places."""
    first: dict[str, int] = {}
    for index, file in enumerate(files):
        other = first.setdefault(file.name, index)
        if other != index:
            raise InputError(
                f"{places[index]}: image {file.name!r} ({file.path}) is already named at "
                f"{places[other]} ({files[other].path}); results are stored by image name: list "
                "each image once"
            )
