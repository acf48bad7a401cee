"""Reader of texts in data sets that TensorFlow Datasets has prepared on this machine.

TFDS provides the paths of the shards and their features; the shards are read without TFDS. Only the
text is decoded, because a data set of captions contains gigabytes of pictures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example, read_frames
from tfrecords.core.files import open_unpacked
from tfrecords.core.shards import Skip
from tfrecords.formats.text.sources import TextPart, sentence_or_skip

_FORM = "tfds:NAME[:FEATURE][@SPLIT], for example tfds:coco_captions:captions/text@train"
_SET = re.compile(
    r"(?P<name>[^:@]+(?::(?:\d+|\*)(?:\.(?:\d+|\*)){2})?)(?::(?P<feature>[^:@]+))?(?:@(?P<split>\w+))?"
)
# Preferred names if there are several texts, such as file names.
_PREFERRED = {"text", "texts", "caption", "captions", "sentence", "sentences", "description", "raw"}


def plan_data_set(value: str) -> list[TextPart]:
    """Plans one part per shard of a data set, for all splits unless one is named.

    Args:
        value: `NAME[:FEATURE][@SPLIT]`. NAME is a name for `tfds.load`
            (`coco_captions/2014:1.1.0`), searched for in $TFDS_DATA_DIR or ~/tensorflow_datasets,
            or a folder with prepared data. FEATURE is the name of a text feature (`captions/text`);
            by default the only text, or the only one with a name such as text or caption.

    Raises:
        InputError: the data set is missing or damaged, has no such split or feature, or has several
            texts and none is named.
    """
    match = _SET.fullmatch(value)
    if not match:
        raise InputError(f"expected {_FORM}, found 'tfds:{value}'")
    name, feature, split = match.group("name", "feature", "split")
    info = _load_info(name)
    if str(info.file_format.value) != "tfrecord":
        raise InputError(
            f"tfds data set {name} is stored as {info.file_format.value}: prepare it as tfrecord "
            f"(tfds build {name} --file_format=tfrecord)"
        )
    if split and split not in info.splits:
        raise InputError(
            f"tfds data set {name} has no split {split!r}; it has {_list(info.splits)}"
        )
    feature = _choose_feature(name, dict(_text_features(info.features)), feature)
    parts = []
    for split_name in [split] if split else sorted(info.splits):
        found = info.splits[split_name]
        for path, records in zip(map(Path, found.filepaths), found.shard_lengths, strict=True):
            if not path.is_file():
                raise InputError(f"tfds data set {name}: the shard {path} is missing")
            parts.append(TextPart(path, "tfds", 0, path.stat().st_size, feature, int(records)))
    if not parts:
        raise InputError(f"tfds data set {name} has no shard: prepare it again")
    return parts


def read_data_set(part: TextPart) -> Iterator[str | Skip]:
    """Yields the texts of a shard.

    Raises:
        InputError: the shard is damaged, or the number of records differs from the metadata.
    """
    count = 0
    with open_unpacked(part.path) as stream:
        try:
            for record in read_frames(stream, str(part.path)):
                count += 1
                place = f"{part.path}, record {count}"
                texts = decode_example(record, {part.feature}).get(part.feature)
                if not isinstance(texts, list):
                    raise ValueError(f"{place} has no text {part.feature!r}")
                for text in texts:
                    yield sentence_or_skip(text.decode(errors="surrogateescape"), place)
        except ValueError as error:
            raise InputError(f"{error} (damaged after {count - 1} records?)") from error
    if count != part.records:
        raise InputError(
            f"{part.path} has {count} records, expected {part.records}: prepare the data set again"
        )


def _load_info(name: str) -> Any:
    import tensorflow_datasets as tfds

    # tfds.builder would access the network for an unprepared data set.
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    try:
        if (Path(name) / "dataset_info.json").is_file():
            return tfds.builder_from_directory(name).info
        return builder_from_files(name, data_dir=str(Path(data_dir).expanduser())).info
    except tfds.core.DatasetNotFoundError:
        raise InputError(
            f"there is no prepared tfds data set {name} in {data_dir} (TFDS_DATA_DIR); prepare it "
            f"first: tfds build {name.partition(':')[0]}"
        ) from None
    except Exception as error:  # damaged descriptions can fail in any way
        raise InputError(
            f"tfds data set {name} cannot be opened ({type(error).__name__}: {error}); expected "
            f"{_FORM}"
        ) from error


def _text_features(feature: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yields the name of each text and its name in the records."""
    import numpy as np
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.FeaturesDict):
        for key, inner in feature.items():
            yield from _text_features(inner, f"{name}/{key}" if name else key, depth)
    elif type(feature) is tfds.features.Sequence:
        yield from _text_features(feature.feature, name, depth + 1)
    elif type(feature) in (tfds.features.Text, tfds.features.Tensor, tfds.features.Scalar) and (
        feature.np_dtype in (np.object_, np.str_)
    ):
        yield name, name if depth < 2 else f"{name}/ragged_flat_values"


def _choose_feature(name: str, texts: dict[str, str], wanted: str | None) -> str:
    if wanted is None:
        named = [text for text in texts if text.rpartition("/")[2] in _PREFERRED]
        found = named if len(texts) > 1 else list(texts)
        wanted = found[0] if len(found) == 1 else None
    if wanted not in texts:
        problem = f"has no text {wanted!r}" if wanted else "needs the name of its text"
        raise InputError(
            f"tfds data set {name} {problem}: expected {_FORM}; its texts: {_list(texts) or 'none'}"
        )
    return texts[wanted]


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
