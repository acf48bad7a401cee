"""Reader of TensorFlow Datasets sets with an image and captions per record: `coco_captions`.

TFDS provides the paths of the shards and their features; the shards are read without TFDS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example, read_frames
from tfrecords.core.shards import Skip
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

# Names of these features in sets, the most specific name first.
_TEXTS = ("captions/text", "caption/text", "captions", "caption", "texts", "text")
_NUMBERS = ("captions/id", "caption/id", "caption_ids")
_FILES = ("image/filename", "image/file_name", "filename", "file_name")
_IDS = ("image/id", "image_id", "id")
_PICTURE = "image"
# Length and checksums around each record of a TFRecord file.
_FRAME_BYTES = 16


def read_tfds(name: str, data_dir: Path | None = None) -> PairedDataset:
    """Reads all splits of a set that TFDS has prepared on this machine.

    Captions are the feature `captions` (`caption`, `texts`, `text`): a text, several texts, or
    several objects with `text` and `id`. Pictures are not loaded: `read` loads them later.

    Args:
        name: `coco_captions`, `coco_captions/2014:1.1.0`, or the folder of a prepared version.
        data_dir: data folder of TFDS; None for $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        InputError: the set does not exist, has no captions, is not stored in TFRecord files, or has
            a damaged record.
    """
    described = _describe(name, data_dir)
    if described.file_format not in (None, "tfrecord"):
        raise InputError(
            f"tfds:{name} is stored as {described.file_format}: prepare it as tfrecord (tfds "
            f"build {name} --file_format=tfrecord)"
        )
    layout = _layout(name, described)
    images: list[PairedImage] = []
    skipped: list[Skip] = []
    numbers: Counter[str] = Counter()
    for split, path, count in described.shards:
        before = len(images)
        for place, record, offset in _records(path):
            picture = StoredPicture(path, offset, layout.picture) if layout.picture else None
            row = _decode(record, layout.names, place)
            image = _image(row, layout, place, f"{split}_{numbers[split]}", skipped)
            images.append(replace(image, split=split, read=picture))
            numbers[split] += 1
        if len(images) - before != count:
            raise InputError(
                f"{path} has {len(images) - before} records, expected {count}: prepare it again"
            )
    files = tuple(path for _, path, _ in described.shards)
    return PairedDataset(images=images, files=files, skipped=skipped)


@dataclass(frozen=True)
class _Layout:
    """The names of the features of a set; None for missing features."""

    texts: str
    numbers: str | None
    file: str | None
    source_id: str | None
    picture: str | None

    @property
    def names(self) -> set[str | None]:
        """The fields that are read from every record, without the picture."""
        return {self.texts, self.numbers, self.file, self.source_id}


@dataclass(frozen=True)
class StoredPicture:
    """The picture of one record; a call returns its encoded bytes.

    Attributes:
        path: path of the TFRecord file.
        offset: offset of the record in the file, bytes.
        feature: name of the picture in the record.
    """

    path: Path
    offset: int
    feature: str

    def __call__(self) -> bytes:
        """Reads the encoded picture."""
        _, record, _ = next(_records(self.path, self.offset))
        values = _decode(record, {self.feature}, f"{self.path}: byte {self.offset}")
        return bytes(_only(values, self.feature) or b"")


@dataclass(frozen=True)
class _Description:
    """TFDS metadata of a data set.

    Attributes:
        file_format: format of its shards.
        kinds: name of a feature in the records -> `text`, `number` or empty for others.
        has_picture: whether the feature `image` is a picture.
        shards: split, path and number of records of each shard.
    """

    file_format: str | None
    kinds: dict[str, str]
    has_picture: bool
    shards: list[tuple[str, Path, int]]


def _describe(name: str, data_dir: Path | None) -> _Description:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    folder = None if data_dir is None else str(data_dir.expanduser())
    try:
        if (Path(name) / "dataset_info.json").is_file():
            info = tfds.builder_from_directory(name).info
        else:
            info = builder_from_files(name, data_dir=folder).info
        picture = dict(info.features.items()).get(_PICTURE)
        return _Description(
            file_format=info.file_format and info.file_format.value,
            kinds=dict(_kinds(info.features.get_serialized_info())),
            has_picture=isinstance(picture, tfds.features.Image),
            shards=[
                (split, Path(path), int(count))
                for split, found in info.splits.items()
                for path, count in zip(found.filepaths, found.shard_lengths, strict=True)
            ],
        )
    except tfds.core.DatasetNotFoundError:
        where = data_dir or "$TFDS_DATA_DIR or ~/tensorflow_datasets"
        raise InputError(
            f"there is no prepared set {name!r} in {where}; prepare it first: tfds build {name}"
        ) from None
    except Exception as error:  # damaged descriptions can fail in any way
        raise InputError(
            f"tfds:{name} cannot be opened ({type(error).__name__}: {error})"
        ) from error


def _kinds(serialized: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, info in serialized.items():
        if isinstance(info, dict):
            yield from _kinds(info, f"{prefix}{key}/")
        else:
            text = info.np_dtype in (np.object_, np.str_)
            yield (
                f"{prefix}{key}",
                "text" if text else "number" if info.np_dtype == np.int64 else "",
            )


def _layout(name: str, described: _Description) -> _Layout:
    kinds = described.kinds

    def first(names: tuple[str, ...], *wanted: str) -> str | None:
        return next((n for n in names if kinds.get(n) in wanted), None)

    texts = first(_TEXTS, "text")
    if texts is None:
        raise InputError(
            f"tfds:{name} has no captions: expected one of {', '.join(_TEXTS)}, found "
            f"{', '.join(sorted(kinds))}"
        )
    return _Layout(
        texts=texts,
        numbers=first(_NUMBERS, "number"),
        file=first(_FILES, "text"),
        source_id=first(_IDS, "number", "text"),
        picture=_PICTURE if described.has_picture else None,
    )


def _records(path: Path, offset: int = 0) -> Iterator[tuple[str, bytes, int]]:
    """Yields place, record and offset of each record of a file, starting at an offset."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            for number, record in enumerate(read_frames(stream, str(path))):
                yield f"{path}: record {number}", record, offset
                offset += len(record) + _FRAME_BYTES
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{error}; prepare the set again") from error
    except OSError as error:
        raise fields.cannot_read(path, error) from error


def _decode(record: bytes, names: Any, place: str) -> dict[str, Any]:
    try:
        return decode_example(record, names)
    except ValueError as error:
        raise InputError(f"{place} is damaged ({error}): prepare the set again") from error


def _image(
    row: dict[str, Any], layout: _Layout, place: str, name: str, skipped: list[Skip]
) -> PairedImage:
    """Returns the image of a record; `name` is its id if the set has none."""
    file_name, source = _only(row, layout.file), _only(row, layout.source_id)
    file = fields.relative_file(file_name, place) if file_name else None
    source_id = None if source is None else fields.identifier(source, place, "the id")
    return PairedImage(
        image_id=file if file else source_id or name,
        place=place,
        captions=tuple(_captions(row, layout, place, skipped)),
        source_id=source_id,
        file=file,
    )


def _captions(
    row: dict[str, Any], layout: _Layout, place: str, skipped: list[Skip]
) -> Iterator[Caption]:
    texts = _values(row, layout.texts)
    numbers = _values(row, layout.numbers)
    if len(numbers) != len(texts):
        numbers = [None] * len(texts)
    for text, number in zip(texts, numbers, strict=True):
        item = fields.caption(text, place, number=number)
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            yield item


def _values(row: dict[str, Any], name: str | None) -> list[Any]:
    """Returns a feature's numbers or texts; invalid UTF-8 becomes surrogates."""
    values = row.get(name, []) if name else []
    if not isinstance(values, list):
        return list(values.tolist())
    return [value.decode(errors="surrogateescape") for value in values]


def _only(row: dict[str, Any], name: str | None) -> Any:
    if name == _PICTURE:
        return next(iter(row.get(name, [])), None)
    return next(iter(_values(row, name)), None)
