"""Sets of TensorFlow Datasets with an image and captions a record, `coco_captions` for one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from tfrecords.errors import InputError
from tfrecords.examples import read_frames
from tfrecords.readers.paired import fields
from tfrecords.readers.paired.types import Caption, PairedDataset, PairedImage
from tfrecords.shards import Skip

# What sets call these features, the most telling name first.
_TEXTS = ("captions/text", "caption/text", "captions", "caption", "texts", "text")
_NUMBERS = ("captions/id", "caption/id", "caption_ids")
_FILES = ("image/filename", "image/file_name", "filename", "file_name")
_IDS = ("image/id", "image_id", "id")
_PICTURE = "image"
_PARSED_AT_ONCE = 64


def read_tfds(name: str, data_dir: Path | None = None) -> PairedDataset:
    """Reads all splits of a set; one that is not prepared yet is downloaded and prepared by TFDS.

    Captions are the feature `captions` (`caption`, `texts`, `text`): a text, several, or several
    objects with `text` and `id`. Pictures stay where they are: `read` finds them again.

    Args:
        name: `coco_captions`, `coco_captions/2014:1.1.0`, or the folder of a prepared version.
        data_dir: of TFDS, `~/tensorflow_datasets` for None.

    Raises:
        InputError: no such set, one without captions, one that is not in TFRecord files here, or a
            damaged record.
    """
    builder = _builder(name, data_dir)
    if not builder.info.splits:
        _prepare(builder, name)
    info = builder.info
    if info.file_format is not None and info.file_format.value != "tfrecord":
        raise InputError(
            f"tfds:{name} is stored as {info.file_format.value}: prepare it as tfrecord"
        )
    spec = info.features.tf_example_spec
    layout = _layout(name, spec)
    images: list[PairedImage] = []
    skipped: list[Skip] = []
    files: list[Path] = []
    for split, split_info in info.splits.items():
        count = 0
        for shard in map(Path, split_info.filepaths):
            files.append(shard)
            for image in _read_shard(shard, split, count, layout, skipped):
                images.append(image)
                count += 1
    return PairedDataset(images=images, files=tuple(files), skipped=skipped)


@dataclass(frozen=True)
class _Layout:
    """The names of the features of a set; None for what it has not."""

    texts: str
    numbers: str | None
    file: str | None
    source_id: str | None
    picture: str | None
    spec: dict[str, Any]


@dataclass(frozen=True)
class StoredPicture:
    """The picture of one record; called, it gives its encoded bytes.

    Attributes:
        path: of the TFRecord file.
        offset: of the record in it, bytes.
        feature: name of the picture in the record.
    """

    path: Path
    offset: int
    feature: str

    def __call__(self) -> bytes:
        """The encoded picture."""
        import tensorflow as tf

        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            record = next(iter(_frames(stream, self.path)), b"")
        found = tf.train.Example.FromString(record).features.feature[self.feature]
        values = found.bytes_list.value
        return bytes(values[0]) if values else b""


def _builder(name: str, data_dir: Path | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        if Path(name).is_dir():
            return tfds.builder_from_directory(name)
        return tfds.builder(name, data_dir=str(data_dir) if data_dir else None)
    except Exception as error:  # TFDS raises whatever its parsers raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"TensorFlow Datasets has no set {name!r} (data_dir {data_dir or 'default'}): {first}"
        ) from error


def _prepare(builder: Any, name: str) -> None:
    logging.warning("tfds:%s is not prepared: TFDS downloads it to %s", name, builder.data_dir)
    try:
        builder.download_and_prepare()
    except Exception as error:  # the network, the disk, the set's own code
        raise InputError(
            f"TFDS could not prepare {name!r} under {builder.data_dir}: {error}"
        ) from error


def _layout(name: str, spec: dict[str, Any]) -> _Layout:
    import tensorflow as tf

    def first(names: tuple[str, ...], *dtypes: Any) -> str | None:
        return next((n for n in names if n in spec and spec[n].dtype in dtypes), None)

    texts = first(_TEXTS, tf.string)
    if texts is None:
        raise InputError(
            f"tfds:{name} has no captions: expected one of {', '.join(_TEXTS)}, found "
            f"{', '.join(sorted(spec))}"
        )
    numbers, file = first(_NUMBERS, tf.int64), first(_FILES, tf.string)
    source_id = first(_IDS, tf.int64, tf.string)
    wanted = [key for key in (texts, numbers, file, source_id) if key is not None]
    return _Layout(
        texts=texts,
        numbers=numbers,
        file=file,
        source_id=source_id,
        picture=first((_PICTURE,), tf.string),
        spec={key: tf.io.RaggedFeature(spec[key].dtype) for key in wanted},
    )


def _read_shard(
    path: Path, split: str, first: int, layout: _Layout, skipped: list[Skip]
) -> Iterator[PairedImage]:
    try:
        with path.open("rb") as stream:
            # A record's offset is the sum of those before it with their 16 bytes of framing.
            records, offset, index = iter(_frames(stream, path)), 0, first
            while batch := list(itertools.islice(records, _PARSED_AT_ONCE)):
                for record, row in zip(batch, _parse(batch, layout, path), strict=True):
                    yield _image(row, layout, path, offset, split, index, skipped)
                    offset += len(record) + 16
                    index += 1
    except OSError as error:
        raise fields.cannot_read(path, error) from error


def _frames(stream: Any, path: Path) -> Iterator[bytes]:
    try:
        yield from read_frames(stream, str(path))
    except ValueError as error:
        raise InputError(f"{error}; prepare the set again") from error


def _parse(records: list[bytes], layout: _Layout, path: Path) -> list[dict[str, list[Any]]]:
    import tensorflow as tf

    try:
        columns = tf.io.parse_example(records, layout.spec)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"{path}: a record is not as its set describes: {error.message}") from None
    rows = {name: column.to_list() for name, column in columns.items()}
    return [{name: rows[name][i] for name in rows} for i in range(len(records))]


def _image(
    row: dict[str, list[Any]],
    layout: _Layout,
    path: Path,
    offset: int,
    split: str,
    index: int,
    skipped: list[Skip],
) -> PairedImage:
    place = f"{path}: record {index}"
    file_name, source = _only(row, layout.file), _only(row, layout.source_id)
    file = None if not file_name else fields.relative_file(_text(file_name), place)
    source_id = None if source is None else fields.identifier(_text(source), place, "the id")
    return PairedImage(
        image_id=fields.file_key(file) if file else source_id or f"{split}_{index}",
        place=place,
        captions=tuple(_captions(row, layout, place, skipped)),
        source_id=source_id,
        file=file,
        split=split,
        read=StoredPicture(path, offset, layout.picture) if layout.picture else None,
    )


def _captions(
    row: dict[str, list[Any]], layout: _Layout, place: str, skipped: list[Skip]
) -> Iterator[Caption]:
    texts = row[layout.texts]
    numbers = row[layout.numbers] if layout.numbers else []
    if len(numbers) != len(texts):
        numbers = [None] * len(texts)
    for text, number in zip(texts, numbers, strict=True):
        try:
            item = fields.caption(text.decode(), place, number=number)
        except UnicodeDecodeError as error:
            item = Skip(place, "undecodable", str(error))
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            yield item


def _only(row: dict[str, list[Any]], name: str | None) -> Any:
    values = row[name] if name else []
    return values[0] if values else None


def _text(value: Any) -> Any:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
