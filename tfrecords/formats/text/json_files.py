"""Reader of captions in JSON files of COCO, Karpathy, Shutterstock and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.json_stream import Element, stream_json
from tfrecords.formats.tables import CAPTION_NAMES, find_name, has_image_suffix, simple_name
from tfrecords.formats.text.sources import TextPart, sentence_or_skip

_COCO_KEYS = {"annotations", "images", "info", "licenses", "dataset", "categories", "type", "note"}
_EXPECTED = {
    "coco": '{"annotations": [{"caption"}]} or {"images": [{"captions"}]}',
    "shutterstock": '{page: [{"description"}]}',
    "json_list": 'a list of texts or of objects with "captions", "caption" or "text", or '
    "{image: [caption]}",
}


def detect_json(path: Path, first: Element | None) -> str:
    """Returns the reader for a file with this first element.

    Raises:
        InputError: the element fits none of the formats.
    """
    if first is None:
        return "shutterstock"
    is_image = first.key.isdigit() or has_image_suffix(first.key)
    if is_image and isinstance(first.value, str):
        # Captions by image; the values of the other formats are objects.
        return "json_list"
    if not first.key:
        is_shutterstock = isinstance(first.value, dict) and "description" in first.value
        return "shutterstock" if is_shutterstock else "json_list"
    if isinstance(first.value, dict) and "report" in first.value:
        return "iu_xray"
    if first.key in _COCO_KEYS:
        return "coco"
    if isinstance(first.value, dict):
        return "shutterstock"
    raise InputError(
        f"{path}:{first.line}: {first.value!r:.80} under the key {first.key!r:.80} has none of the "
        f'known forms: {"; ".join(_EXPECTED.values())}; or {{split: [{{"report"}}]}}'
    )


def read_json(part: TextPart) -> Iterator[str | Skip]:
    """Yields the captions of a file in order.

    Raises:
        InputError: an entry is malformed; names `path:line`.
    """
    read = JSON_READERS[part.reader]
    found, keys = False, set()
    for element in stream_json(part.path):
        keys.add(element.key)
        place = f"{part.path}:{element.line}"
        for value in read(element, place):
            sentence = sentence_or_skip(value, place)
            found = found or isinstance(sentence, str)
            yield sentence
    if part.reader == "shutterstock" and not keys:
        # A search without results, among the files of other classes.
        yield Skip(str(part.path), "empty", "no page with a description")
    elif not found:
        raise InputError(
            f"{part.path} contains no sentence for reader {part.reader!r}: its top level has "
            f"{', '.join(sorted(filter(None, keys))[:8]) or 'no keys'}; expected "
            f"{_EXPECTED[part.reader]}"
        )


def entry(value: object, key: str, place: str) -> object:
    """Returns the value of an object under a key.

    Raises:
        InputError: the value is not an object, or has no such key.
    """
    if not isinstance(value, dict) or key not in value:
        found = f"the keys {', '.join(value)}" if isinstance(value, dict) else repr(value)[:80]
        raise InputError(f"{place}: expected an object with {key!r}, found {found[:200]}")
    return value[key]


def _coco_sentences(element: Element, place: str) -> Iterator[object]:
    if element.key == "annotations":
        yield entry(element.value, "caption", place)
    elif element.key == "images" and isinstance(element.value, dict):
        for key in ("captions", "sentences"):
            sentences = element.value.get(key, [])
            if not isinstance(sentences, list):
                raise InputError(f"{place}: expected a list of {key}, found {sentences!r:.80}")
            for sentence in sentences:
                yield _karpathy_sentence(sentence, place)


def _karpathy_sentence(sentence: object, place: str) -> object:
    if not isinstance(sentence, dict):
        return sentence
    tokens = sentence.get("tokens")
    if "raw" not in sentence and isinstance(tokens, list):
        return " ".join(map(str, tokens))
    return entry(sentence, "raw", place)


def _shutterstock_sentences(element: Element, place: str) -> Iterator[object]:
    # Some published pictures have no description, some have two or three.
    picture = element.value
    if isinstance(picture, dict) and not isinstance(picture.get("description"), str):
        yield picture.get("description")
    else:
        lines = str(entry(picture, "description", place)).splitlines()
        yield from [line for line in lines if line.strip()] or [""]


def _list_sentences(element: Element, place: str) -> Iterator[object]:
    if element.key and not isinstance(element.value, str):
        raise InputError(
            f"{place}: expected {_EXPECTED['json_list']}, found the key {element.key!r}"
        )
    if not isinstance(element.value, dict):
        yield element.value
        return
    names = [simple_name(key) for key in element.value]
    column = find_name(names, CAPTION_NAMES)
    if column is None:
        raise InputError(
            f"{place}: expected an object with one of {', '.join(CAPTION_NAMES)}, found the keys "
            f"{', '.join(element.value)[:200]}"
        )
    value = list(element.value.values())[column]
    for sentence in value if isinstance(value, list) else [value]:
        yield _karpathy_sentence(sentence, place)


JSON_READERS: dict[str, Callable[[Element, str], Iterator[object]]] = {
    "coco": _coco_sentences,
    "shutterstock": _shutterstock_sentences,
    "json_list": _list_sentences,
}
