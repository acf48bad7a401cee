"""Reader of Karpathy's splits, `dataset_{coco,flickr8k,flickr30k}.json`, and similar files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

# In upstream's order of preference (prepro_labels).
FILE_KEYS = ("filename", "file_path", "file_name")
_NUMBERS = ("cocoid", "imgid", "id")


def read_karpathy(path: Path) -> PairedDataset:
    """Reads `{"images": [...]}`, each image with `sentences` or `captions`.

    The name of an image is `filename` (and `filepath`, its folder), `file_path` or `file_name`; its
    number is `cocoid`, else `imgid`, else `id`. A sentence is an object with `raw` or `tokens`, or
    a text.

    Raises:
        InputError: the file is not JSON, or an image is malformed or has no name; names
            `path:line`.
    """
    images: list[PairedImage] = []
    skipped: list[Skip] = []
    words: dict[str, str] = {}
    for place, element in fields.json_elements(path):
        if element.key == "images":
            row = fields.object_of(element.value, place, "an object for an image")
            images.append(read_image(row, place, skipped, words))
    return PairedDataset(images=images, files=(path,), skipped=skipped)


def read_image(
    row: dict[str, Any], place: str, skipped: list[Skip], words: dict[str, str]
) -> PairedImage:
    """Reads one image of a file; see `read_karpathy`.

    Args:
        row: the object.
        place: place of the object, for messages.
        skipped: updated with the skipped captions.
        words: updated with every token, so that equal tokens share one string.

    Raises:
        InputError: see `read_karpathy`.
    """
    file = _file(row, place)
    number = next((row[key] for key in _NUMBERS if row.get(key) is not None), None)
    source_id = None if number is None else fields.identifier(number, place, "the image's number")
    if file is None and source_id is None:
        raise InputError(
            f"{place}: an image without a name: expected `filename`, `file_path`, `file_name` or "
            f"one of {', '.join(_NUMBERS)}, found {fields.found(row)}"
        )
    captions = []
    for sentence in _sentences(row, place):
        item = _caption(sentence, place)
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            captions.append(_shared(item, words))
    split = row.get("split")
    return PairedImage(
        image_id=file if file is not None else str(source_id),
        place=place,
        captions=tuple(captions),
        source_id=source_id,
        file=file,
        split=None if split is None else fields.identifier(split, place, "the split"),
        height=fields.pixels(row, "height", place),
        width=fields.pixels(row, "width", place),
    )


def _file(row: dict[str, Any], place: str) -> str | None:
    name = next((row[key] for key in FILE_KEYS if row.get(key) is not None), None)
    if name is None:
        return None
    file = fields.relative_file(name, place)
    if (folder := row.get("filepath")) and not PurePosixPath(file).is_absolute():
        fields.relative_file(folder, place, "the folder (`filepath`)")
        return fields.relative_file(f"{folder}/{file}", place)
    return file


def _sentences(row: dict[str, Any], place: str) -> list[Any]:
    for key in ("sentences", "captions"):
        if key in row:
            return fields.list_of(row[key], place, f"a list of {key}")
    raise InputError(
        f"{place}: expected `sentences` or `captions` of an image, found {fields.found(row)}"
    )


def _caption(sentence: object, place: str) -> Caption | Skip:
    if not isinstance(sentence, dict):
        return fields.caption(sentence, place)
    if "raw" not in sentence and "tokens" not in sentence:
        raise InputError(
            f"{place}: expected `raw` or `tokens` of a sentence, found {fields.found(sentence)}"
        )
    return fields.caption(
        sentence.get("raw"),
        place,
        tokens=sentence.get("tokens"),
        number=sentence.get("sentid"),
    )


def _shared(caption: Caption, words: dict[str, str]) -> Caption:
    # Six million tokens, but only some ten thousand words: share equal strings.
    if caption.tokens is None:
        return caption
    tokens = tuple(words.setdefault(token, token) for token in caption.tokens)
    return Caption(caption.text, tokens, caption.caption_id)
