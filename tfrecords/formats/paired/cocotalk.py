"""Reader of `cocotalk.json` and `cocotalk_label.h5` from self-critical.pytorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import to_nfc
from tfrecords.core.vocabulary import UNK
from tfrecords.formats.hdf5_files import read_values
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

_LABELS = ("labels", "label_start_ix", "label_end_ix")
_UPSTREAM_UNK = "UNK"
# More word ids than any data set has, so that a damaged header cannot exhaust the memory.
_MOST_BYTES = 1 << 33


def read_cocotalk(path: Path) -> PairedDataset:
    """Reads the captions of `<name>.json` from `<name>_label.h5` next to it.

    Captions are available only as upstream stored them: lower-cased, truncated to `--max_length`
    words, rare words replaced by `<unk>`. The `texts` of the records are these words. With
    upstream's subwords (`bpe` in the JSON) the words are the subwords, joined in the texts.

    Args:
        path: the JSON file, or the folder with both files.

    Raises:
        InputError: a file is missing or damaged, or the two do not belong together.
    """
    json_path, h5_path = _files(path)
    words: dict[int, str] | None = None
    rows: list[tuple[dict[str, Any], str]] = []
    subwords = False
    for place, element in fields.json_elements(json_path):
        if element.key == "ix_to_word":
            words = _words(element.value, place)
        elif element.key == "images":
            rows.append((fields.object_of(element.value, place, "an object for an image"), place))
        subwords |= element.key == "bpe"
    if words is None:
        raise InputError(f"{json_path} has no `ix_to_word`: expected a file of prepro_labels")
    labels, start, end = _read_labels(h5_path, len(rows))
    unknown = np.setdiff1d(labels, [0, *words])
    if unknown.size:
        raise InputError(
            f"{h5_path}: word id {unknown[0]} is not in `ix_to_word` of {json_path}: the two files "
            "are from different runs"
        )
    images = []
    for index, (row, place) in enumerate(rows):
        first, last = int(start[index]) - 1, int(end[index])
        sentences = [
            Caption(text.replace("@@ ", "") if subwords else text, tokens, number)
            for number in range(first, last)
            if (tokens := _tokens(labels[number], words)) and (text := " ".join(tokens))
        ]
        images.append(_image(row, place, tuple(sentences)))
    return PairedDataset(
        images=images,
        files=(json_path, h5_path),
        words=tuple(word for word in dict.fromkeys(words.values()) if word != UNK),
    )


def _files(path: Path) -> tuple[Path, Path]:
    if path.is_dir():
        found = sorted(path.glob("*_label.h5"))
        if len(found) != 1:
            raise InputError(
                f"{path}: expected one *_label.h5 in this folder, found {len(found)}; give the "
                "JSON file instead"
            )
        return path / (found[0].name.removesuffix("_label.h5") + ".json"), found[0]
    return path, path.with_name(f"{path.stem}_label.h5")


def _words(value: object, place: str) -> dict[int, str]:
    words = {}
    for key, word in fields.object_of(value, place, "`ix_to_word`, an object").items():
        good = key.isascii() and key.isdigit() and 0 < len(key) < 10 and int(key) > 0
        is_word = isinstance(word, str) and len(word.split()) == 1 and fields.is_clean(word)
        if not good or not is_word:
            raise InputError(
                f"{place}: `ix_to_word` must map numbers from 1 to words, found "
                f"{key[:20]!r}: {fields.found(word)}"
            )
        words[int(key)] = UNK if word == _UPSTREAM_UNK else to_nfc(word.strip())
    return words


def _read_labels(path: Path, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import h5py

    if not path.is_file():
        raise InputError(f"there is no file of captions {path}: expected next to the JSON")
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in _LABELS if name not in file]
            if missing:
                raise InputError(
                    f"{path} lacks {', '.join(missing)}: expected a file of prepro_labels"
                )
            labels, start, end = (read_values(file, name, _MOST_BYTES) for name in _LABELS)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds
        raise InputError(f"{path} cannot be read as HDF5: {error}") from error
    shapes = [array.shape for array in (labels, start, end)]
    kinds = {array.dtype.kind for array in (labels, start, end)}
    if len(shapes[0]) != 2 or shapes[1:] != [(images,)] * 2 or not kinds <= {"i", "u"}:
        raise InputError(
            f"{path}: expected whole numbers, `labels` [M, L], `label_start_ix` and `label_end_ix` "
            f"[{images}] (as many as the JSON has images), found the shapes {shapes}"
        )
    start, end = start.astype(np.int64), end.astype(np.int64)
    if images and (start.min() < 1 or end.max() > len(labels) or (end - start < -1).any()):
        raise InputError(
            f"{path}: `label_start_ix` and `label_end_ix` must be rows of `labels`, counted from 1 "
            f"to {len(labels)}"
        )
    return labels.astype(np.int64), start, end


def _tokens(row: np.ndarray, words: dict[int, str]) -> tuple[str, ...]:
    tokens = []
    for number in row.tolist():
        if number == 0:
            break
        tokens.append(words[number])
    return tuple(tokens)


def _image(row: dict[str, Any], place: str, captions: tuple[Caption, ...]) -> PairedImage:
    name, number, split = row.get("file_path"), row.get("id"), row.get("split")
    # Files of the earliest versions have empty paths.
    file = fields.relative_file(name, place, "`file_path`") if name else None
    source_id = None if number is None else fields.identifier(number, place, "the image's `id`")
    if file is None and source_id is None:
        raise InputError(f"{place}: an image without `id` and `file_path`: {fields.found(row)}")
    return PairedImage(
        image_id=str(source_id) if file is None else file,
        place=place,
        captions=captions,
        source_id=source_id,
        file=file,
        split=None if split is None else fields.identifier(split, place, "the split"),
        height=fields.pixels(row, "height", place),
        width=fields.pixels(row, "width", place),
    )
