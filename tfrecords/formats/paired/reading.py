"""The formats of images with captions, and detection of the format of a path."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import first_line, read_text
from tfrecords.formats import tables
from tfrecords.formats.json_stream import JSON_LINES_SUFFIXES
from tfrecords.formats.paired import fields, flickr, xray
from tfrecords.formats.paired.caption_rows import caption_files, read_caption_rows
from tfrecords.formats.paired.coco import read_coco
from tfrecords.formats.paired.coco_pt import read_coco_pt
from tfrecords.formats.paired.cocotalk import read_cocotalk
from tfrecords.formats.paired.imageclef import has_concepts, read_imageclef
from tfrecords.formats.paired.json_list import EXPECTED, is_image_row, read_json_list
from tfrecords.formats.paired.karpathy import read_karpathy
from tfrecords.formats.paired.tfds_sets import read_tfds
from tfrecords.formats.paired.types import PairedDataset, PairedImage
from tfrecords.language.html_entities import decode_entities

_READERS: dict[str, Callable[[Path], PairedDataset]] = {
    "karpathy": read_karpathy,
    "coco": read_coco,
    "flickr": flickr.read_flickr,
    "xray": xray.read_xray,
    "imageclef": read_imageclef,
    "json_list": read_json_list,
    "coco_pt": read_coco_pt,
    "cocotalk": read_cocotalk,
    "kiros": read_caption_rows,
    "vsepp": read_caption_rows,
}
TFDS = "tfds"
FORMATS = ("auto", *_READERS, TFDS)

# Name of a split in the formats -> split of the records.
SPLITS = {
    "train": "train",
    "restval": "train",
    "val": "val",
    "dev": "val",
    "validation": "val",
    "validate": "val",
    "test": "test",
}


class UnknownFormatError(InputError):
    """A file or folder has none of the known formats."""


@dataclass(frozen=True)
class PairedSource:
    """A source given on a command line.

    Attributes:
        path: path of a file or folder; for the format `tfds` the name of a set.
        format: one of `FORMATS`.
        split: split of its images if the source does not define it; otherwise None.
    """

    path: str
    format: str = "auto"
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> PairedSource:
        """Parses `[SPLIT=][FORMAT:]PATH`.

        Raises:
            InputError: the path is missing.
        """
        split, equals, rest = text.partition("=")
        if not (equals and split in SPLITS):
            split, rest = "", text
        name, colon, path = rest.partition(":")
        if not (colon and name in FORMATS):
            name, path = "auto", rest
        if not path:
            raise InputError(f"expected [SPLIT=][FORMAT:]PATH, found {text!r}")
        return cls(path, name, split or None)


def read_paired(source: PairedSource, data_dir: Path | None = None) -> PairedDataset:
    """Reads a source; the format `auto` is resolved here.

    Args:
        source: the source to read.
        data_dir: data folder of TensorFlow Datasets, for the format `tfds`.

    Returns:
        Its images. Images without a split in the source have `source.split`, or else the split of
        the file's name, or else None.

    Raises:
        InputError: the format or split is unknown, a file is missing, damaged or malformed, or a
            split is given for a source that defines splits.
    """
    if source.format not in FORMATS:
        raise InputError(f"format {source.format!r} is not known; known: {', '.join(FORMATS)}")
    if source.split is not None and source.split not in SPLITS:
        raise InputError(f"split {source.split!r} is not known; known: {', '.join(SPLITS)}")
    path = Path(source.path)
    name = detect_format(path) if source.format == "auto" else source.format
    dataset = read_tfds(source.path, data_dir) if name == TFDS else _READERS[name](path)
    if not dataset.images:
        raise InputError(
            f"{source.path} contains no captions: read as {name!r}, it lists no images"
        )
    if source.split is not None and any(image.split for image in dataset.images):
        raise InputError(
            f"{source.path} defines the split of its images: leave out {source.split}="
        )
    dataset = _without_entities(_below_one_folder(dataset))
    split = source.split or dataset.default_split
    if split is None:
        return dataset
    images = [i if i.split else replace(i, split=split) for i in dataset.images]
    return replace(dataset, images=images, given_split=source.split)


def _below_one_folder(dataset: PairedDataset) -> PairedDataset:
    """Makes absolute paths of files relative to their common parent folder.

    They refer to folders of the machine where they were written.
    """
    files = [image.file for image in dataset.images if image.file]
    folders = [str(PurePosixPath(file).parent) for file in files if file.startswith("/")]
    if not folders:
        return dataset
    top = posixpath.commonpath(folders)

    def relative(image: PairedImage) -> PairedImage:
        if not (image.file and image.file.startswith("/")):
            return image
        file = posixpath.relpath(image.file, top)
        image_id = file if image.image_id == image.file else image.image_id
        return replace(image, file=file, image_id=image_id)

    return replace(dataset, images=[relative(image) for image in dataset.images])


def _without_entities(dataset: PairedDataset) -> PairedDataset:
    """Decodes HTML entities in captions; drops the source's tokens of such captions."""
    if dataset.words is not None:
        return dataset
    decoded = 0
    images = list(dataset.images)
    for number, image in enumerate(images):
        if not any("&" in caption.text for caption in image.captions):
            continue
        texts = [_decoded(caption.text) for caption in image.captions]
        captions = tuple(
            caption if text == caption.text else replace(caption, text=text, tokens=None)
            for caption, text in zip(image.captions, texts, strict=True)
        )
        if captions != image.captions:
            decoded += sum(a is not b for a, b in zip(captions, image.captions, strict=True))
            images[number] = replace(image, captions=captions)
    return replace(dataset, images=images, entities=decoded) if decoded else dataset


def _decoded(text: str) -> str:
    decoded = decode_entities(text)
    return text if decoded == text else fields.normalize_text(decoded).strip()


def detect_format(path: Path) -> str:
    """Detects the format of a file or folder.

    Raises:
        UnknownFormatError: the path has none of the known formats.
        InputError: the path does not exist or cannot be read.
    """
    if path.is_dir():
        return _detect_folder(path)
    if path.suffix in (".pt", ".pth", ".npz"):
        return "coco_pt"
    if path.suffix.lower() in (".json", *JSON_LINES_SUFFIXES):
        return _detect_json(path)
    first = _checked_first_line(path)
    if first[0] in "{[":
        return _detect_json(path)
    if has_concepts(first):
        return "imageclef"
    if flickr.is_table(path, first):
        return "flickr"
    if "\t" in first:
        return "imageclef"
    raise _unknown(path, f"its first line is {first[:80]!r}")


def _checked_first_line(path: Path) -> str:
    text = tables.skip_separator_line(read_text(path, fields.CAPTIONS))
    if first := first_line(text).lstrip():
        return first
    raise InputError(f"{path} is empty: it contains no captions")


def _detect_folder(path: Path) -> str:
    if any(path.glob("*_label.h5")):
        return "cocotalk"
    if found := caption_files(path):
        return "kiros" if any(prefix for prefix, _ in found) else "vsepp"
    if (path / "dataset_info.json").is_file():
        return TFDS
    raise _unknown(path, f"it contains {_listed(sorted(item.name for item in path.iterdir()))}")


def _detect_json(path: Path) -> str:
    keys: dict[str, None] = {}
    for _, element in fields.json_elements(path):
        keys[element.key] = None
        if is_image_row(element.key, element.value):
            return "json_list"
        if element.key == "annotations":
            return "coco"
        if element.key == "ix_to_word":
            return "cocotalk"
        if element.key in xray.SPLITS:
            return "xray"
        is_image = element.key == "images" and isinstance(element.value, dict)
        if is_image and {"sentences", "captions"} & element.value.keys():
            return "karpathy"
    if keys.keys() == {""}:
        found = fields.found(element.value)
        raise _unknown(path, f"it is a list of {found}; expected {EXPECTED}")
    raise _unknown(path, f"it has the keys {_listed([key for key in keys if key])}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6])[:200] or "nothing"


def _unknown(path: Path, what: str) -> UnknownFormatError:
    return UnknownFormatError(
        f"{path} has none of the known caption formats: {what}. Give the format before the "
        f"path (karpathy:{path.name}); known: {', '.join(FORMATS[1:])}"
    )
