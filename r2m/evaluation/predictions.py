"""Predictions and references on disk: COCO results and COCO captions JSON.

Predictions are written before they are scored, so that every score can be traced to its captions
and computed again elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from r2m.evaluation.output_files import name_some, write_parts
from tfrecords.core.errors import InputError
from tfrecords.core.text_files import read_text

_WHAT = "file of captions"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def write_predictions(path: Path | str, predictions: Iterable[Mapping[str, Any]]) -> Path:
    """Writes COCO results JSON: a list of `{"image_id", "caption", ...}`, one per image.

    Args:
        path: file to write; replaced atomically.
        predictions: `image_id` is a string or an integer, `caption` a string (empty if the model
            generated no word). Further JSON entries are kept (scores, concepts).

    Returns:
        The path.

    Raises:
        InputError: there are no predictions, one has another form, or an image has two.
    """
    return write_parts(path, _json_parts(predictions, str(path)))


def _json_parts(predictions: Iterable[Mapping[str, Any]], where: str) -> Iterator[str]:
    """Yields the text of `json.dumps(..., indent=1)` for a list, row by row."""
    start = "[\n "
    for row in checked_rows(predictions, where):
        try:
            text = json.dumps(
                dict(row), ensure_ascii=False, indent=1, allow_nan=False, default=_plain
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: predictions cannot be written as JSON: {error}") from error
        yield start + text.replace("\n", "\n ")
        start = ",\n "
    yield "\n]\n"


def prediction_rows(
    captions: Mapping[str, str], source_ids: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Returns captions by file name as COCO results.

    Args:
        captions: file name of the image (`image_id` of the records) -> its caption.
        source_ids: file name -> number of the image in the source of the records, as text; empty if
            it has none.

    Returns:
        One row per image, in the same order. If every image has a unique number, `image_id` is this
        integer, as in the reference files that pycocotools loads, and `file_name` is the file name;
        otherwise `image_id` is the file name.
    """
    numbers = [_as_integer(source_ids.get(name, "")) for name in captions]
    if None in numbers or len(set(numbers)) < len(numbers):
        return [{"image_id": name, "caption": text} for name, text in captions.items()]
    rows: list[dict[str, Any]] = []
    for number, (name, text) in zip(numbers, captions.items(), strict=True):
        # Records of sources without file names identify images by number.
        file_name = {} if name == str(number) else {"file_name": name}
        rows.append({"image_id": number, **file_name, "caption": text})
    return rows


def _as_integer(text: str) -> int | None:
    """Returns a text as int64; None for other text, including numbers with leading zeros."""
    return int(text) if _INTEGER.fullmatch(text) and abs(int(text)) < 1 << 63 else None


def reference_table(content: Any, where: str) -> dict[str, list[str]]:
    """Returns the reference captions in a JSON file, by image.

    Args:
        content: content of the file: `{image_id: [caption, ...]}`, or COCO captions
            (`{"annotations": [{"image_id", "caption"}, ...]}`), whose ids become text.
        where: name of the file, for messages.

    Raises:
        InputError: the content is of another form.
    """
    if not isinstance(content, dict):
        raise InputError(
            f"{where}: expected {{image_id: [captions]}} or COCO captions, found "
            f"{found_kind(content)}"
        )
    table: dict[str, list[str]] = {}
    if isinstance(content.get("annotations"), list):
        for index, row in enumerate(content["annotations"]):
            fault = _row_fault(row)
            if fault:
                raise InputError(f"{where}: annotation {index}: {fault}")
            table.setdefault(str(row["image_id"]), []).append(row["caption"])
    else:
        table = {image_id: caption_texts(captions) for image_id, captions in content.items()}
    _check_references(table, where)
    return table


def caption_texts(captions: Any) -> Any:
    """Returns the texts of a list of `{"caption": text}`, the form used by pycocoevalcap.

    Any other value is returned unchanged.
    """
    if not isinstance(captions, list):
        return captions
    return [row.get("caption") if isinstance(row, Mapping) else row for row in captions]


def read_json(path: Path | str) -> Any:
    """Returns the content of a JSON file.

    Raises:
        InputError: the file does not exist or is malformed JSON; the message contains `path:line`.
    """
    text = read_text(Path(path), _WHAT)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: malformed JSON: {error.msg} (column {error.colno}); "
            "was the file cut short?"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: JSON nested too deeply") from error


def check_rows(rows: Iterable[Any], where: str) -> None:
    """Raises `InputError` unless rows are predictions; see `checked_rows`."""
    for _ in checked_rows(rows, where):
        pass


def checked_rows(rows: Iterable[Any], where: str) -> Iterator[Any]:
    """Yields rows and checks that they are COCO results with one caption per image.

    Raises:
        InputError: there are no rows, one has another form, or an image has two.
    """
    known: set[str] = set()
    for index, row in enumerate(rows):
        fault = _row_fault(row)
        if fault:
            raise InputError(f"{where}: prediction {index}: {fault}")
        # 7 and "7" are the same image, because scoring compares ids as text.
        image_id = str(row["image_id"])
        if image_id in known:
            raise InputError(f"{where}: more than one prediction for {image_id!r}")
        known.add(image_id)
        yield row
    if not known:
        raise InputError(f"{where}: no predictions: expected one caption per image")


def _row_fault(row: Any) -> str | None:
    if not isinstance(row, Mapping):
        return f"expected {{'image_id', 'caption'}}, found {found_kind(row)}"
    missing = [key for key in ("image_id", "caption") if key not in row]
    if missing:
        return f"no {' and no '.join(missing)}, found the keys {sorted(map(str, row))}"
    image_id, caption = row["image_id"], row["caption"]
    if isinstance(image_id, bool) or not isinstance(image_id, str | int):
        return f"image_id must be text or an integer, found {found_kind(image_id)}"
    if not isinstance(caption, str):
        return f"the caption of {image_id!r} must be text, found {found_kind(caption)}"
    return None


def _check_references(table: Mapping[str, Any], where: str) -> None:
    if not table:
        raise InputError(f"{where}: no references")
    wrong = [
        image_id
        for image_id, captions in table.items()
        if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions)
    ]
    if wrong:
        raise InputError(
            f"{where}: references must be lists of texts; they are not for {name_some(wrong)}"
        )


def found_kind(value: Any) -> str:
    """Returns a description of a JSON value, for messages."""
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), f"{value!r:.40}")


def _plain(value: Any) -> Any:
    """Converts NumPy scalars and arrays, as in scores and concepts, to Python values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
