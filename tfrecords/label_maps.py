"""The class names of detectors and classifiers, read from the formats they are published in."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfrecords.errors import InputError

_PBTXT_ITEM = re.compile(r"\bitem\s*:?\s*\{([^{}]*)\}")
_PBTXT_FIELD = re.compile(
    r"\b(id|name|display_name)\s*:\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(-?\d+))"
)
_CSV_HEADERS = {"id", "class_id", "label", "labelname", "mid", "index"}
_FORMATS = (
    "a TF object-detection .pbtxt, a .json with COCO `categories`, a .csv with `id,name` or "
    "Open Images `/m/...,Name` rows, or a plain .txt with a name a line"
)


@dataclass(frozen=True)
class LabelMap:
    """The classes one detector or classifier can name.

    Attributes:
        name: what the map is called in messages (the file's name).
        classes: class id -> class name as the publisher writes it.
    """

    name: str
    classes: dict[int, str]


def read_label_map(path: str | Path) -> LabelMap:
    """Reads a label map; the format follows from the file's suffix.

    Formats: TF object-detection `.pbtxt` (`display_name`, else `name`); `.json` with COCO
    `categories` (an annotation or results file will do); `.csv` with `id,name` rows or Open Images
    class descriptions `/m/xxx,Name` (ids are then line numbers from 1); any other suffix is a
    plain list, a name a line, ids from 1.

    Args:
        path: the file.

    Returns:
        The label map, named after the file.

    Raises:
        InputError: the file is missing, unreadable or malformed, names no class, or gives one id
            to two classes.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"label map {path} does not exist; give {_FORMATS}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read label map {path}: {error}; expected {_FORMATS}") from error
    suffix = path.suffix.lower()
    if suffix in (".pbtxt", ".prototxt"):
        rows = _pbtxt_rows(text, path)
    elif suffix == ".json":
        rows = _json_rows(text, path)
    elif suffix == ".csv":
        rows = _csv_rows(text, path)
    else:
        names = [line.strip() for line in text.splitlines()]
        rows = [(i, name) for i, name in enumerate(filter(None, names), start=1)]
    return LabelMap(name=path.name, classes=_unique(rows, path))


def _unique(rows: Iterable[tuple[int, str]], path: Path) -> dict[int, str]:
    classes: dict[int, str] = {}
    for class_id, name in rows:
        if class_id in classes:
            raise InputError(
                f"label map {path} gives id {class_id} to two classes: "
                f"{classes[class_id]!r} and {name!r}"
            )
        classes[class_id] = name
    if not classes:
        raise InputError(f"label map {path} names no class; expected {_FORMATS}")
    return classes


def _pbtxt_rows(text: str, path: Path) -> list[tuple[int, str]]:
    rows = []
    for item in _PBTXT_ITEM.finditer(text):
        line = text.count("\n", 0, item.start()) + 1
        fields: dict[str, str] = {}
        for key, double, single, number in _PBTXT_FIELD.findall(item.group(1)):
            fields[key] = number or re.sub(r"\\(.)", r"\1", double or single)
        name = (fields.get("display_name") or fields.get("name") or "").strip()
        if "id" not in fields or not name:
            raise InputError(
                f"{path}:{line}: an item needs an `id` and a `display_name` or `name`; "
                f"found {fields or 'none of them'}"
            )
        rows.append((int(fields["id"]), name))
    return rows


def _json_rows(text: str, path: Path) -> list[tuple[int, str]]:
    try:
        categories = json.loads(text)["categories"]
        return [(int(row["id"]), str(row["name"]).strip()) for row in categories]
    except json.JSONDecodeError as error:
        raise InputError(f"label map {path} is not JSON: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"label map {path} needs a COCO `categories` list of {{id, name}}: "
            f"{type(error).__name__} {error}"
        ) from error


def _csv_rows(text: str, path: Path) -> list[tuple[int, str]]:
    rows: list[tuple[int, str]] = []
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < 2 or not row[1].strip():
            raise InputError(f"{path}:{line}: expected `id,name`, found {row}")
        key, name = row[0].strip(), row[1].strip()
        if line == 1 and key.lower().replace(" ", "") in _CSV_HEADERS:
            continue
        if key.startswith("/"):
            rows.append((len(rows) + 1, name))
        elif key.lstrip("-").isdigit():
            rows.append((int(key), name))
        else:
            raise InputError(f"{path}:{line}: the id {key!r} is neither a number nor /m/...")
    return rows
