"""Reader of the class names of detectors and classifiers, in their published formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import first_line, read_text, split_lines, to_nfc

_PBTXT_ITEM = re.compile(r"\bitem\s*:?\s*\{([^{}]*)\}")
_PBTXT_FIELD = re.compile(
    r"\b(id|name|display_name)\s*:\s*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(-?[0-9]{1,19}\b))"
)
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_SEPARATORS = ",;\t|"
_FORMATS = (
    "a TF object-detection .pbtxt, a .json with COCO `categories`, a .csv with `id,name` or "
    "Open Images `/m/...,Name` rows, or a plain .txt with one name per line"
)


# Names of label maps that are part of the package.
SHIPPED = {"colors": Path(__file__).parent / "data" / "colors.tsv"}


def label_map_path(text: str) -> Path:
    """Returns the path of a label map; `colors` is the one of the detector `colors`."""
    return SHIPPED.get(text) or Path(text)


@dataclass(frozen=True)
class LabelMap:
    """The classes of one detector or classifier.

    Attributes:
        name: name of the map in messages (the file name).
        classes: class id -> class name as published.
        codes: code -> class id, if the publisher also uses codes (Open Images: `/m/01g317`).
    """

    name: str
    classes: dict[int, str]
    codes: dict[str, int] = field(default_factory=dict)


def read_label_map(path: str | Path) -> LabelMap:
    """Reads a label map in the format given by the suffix of the file.

    Formats: TF object-detection `.pbtxt` (`display_name`, else `name`); `.json` with COCO
    `categories` (an annotation file is sufficient); `.csv` or `.tsv` with `id,name` rows or
    Open Images class descriptions `/m/xxx,Name` (ids are then line numbers from 1), separated by
    commas, semicolons or tabs, with or without a header; any other suffix is a plain list, a name
    per line, ids from 1. Names are stored in Unicode NFC.

    Args:
        path: the file.

    Returns:
        The label map, named after the file.

    Raises:
        InputError: the file is missing, unreadable or malformed, contains no class, or assigns
            one id to two classes.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"label map {path} does not exist; give {_FORMATS}")
    text = to_nfc(read_text(path, "label map"))
    suffix = path.suffix.lower()
    if suffix in (".pbtxt", ".prototxt"):
        rows = _pbtxt_rows(text, path)
    elif suffix == ".json":
        rows = _json_rows(text, path)
    elif suffix in (".csv", ".tsv"):
        rows = _csv_rows(text, path)
    else:
        names = [line.strip() for line in split_lines(text)]
        rows = [_Row(i, name) for i, name in enumerate(filter(None, names), start=1)]
    return _label_map(rows, path)


class _Row(NamedTuple):
    id: int
    name: str
    code: str = ""


def _label_map(rows: Iterable[_Row], path: Path) -> LabelMap:
    classes: dict[int, str] = {}
    codes: dict[str, int] = {}
    for row in rows:
        if row.id in classes:
            raise InputError(
                f"label map {path} assigns id {row.id} to two classes: "
                f"{classes[row.id]!r} and {row.name!r}"
            )
        if not -(2**63) <= row.id < 2**63:
            raise InputError(f"label map {path}: the id of {row.name!r} has more than 64 bits")
        if row.code in codes:
            raise InputError(f"label map {path} has the code {row.code!r} twice")
        classes[row.id] = row.name
        if row.code:
            codes[row.code] = row.id
    if not classes:
        raise InputError(f"label map {path} contains no classes; expected {_FORMATS}")
    return LabelMap(name=path.name, classes=classes, codes=codes)


def _pbtxt_rows(text: str, path: Path) -> list[_Row]:
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
        code = fields.get("name", "").strip()
        rows.append(_Row(int(fields["id"]), name, code if code != name else ""))
    return rows


def _json_rows(text: str, path: Path) -> list[_Row]:
    try:
        categories = json.loads(text)["categories"]
        return [_Row(int(row["id"]), str(row["name"]).strip()) for row in categories]
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"label map {path} is not JSON: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"label map {path} needs a COCO `categories` list of {{id, name}}: "
            f"{type(error).__name__} {error}"
        ) from error


def _csv_rows(text: str, path: Path) -> list[_Row]:
    rows: list[_Row] = []
    first = first_line(text)
    separator = min(_SEPARATORS, key=lambda s: first.index(s) if s in first else len(first))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        # A row with quoted line breaks is reported by its last line.
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"cannot read label map {path}: {error}; expected {_FORMATS}") from error
    lines = [(line, row) for line, row in lines if any(cell.strip() for cell in row)]
    for index, (line, row) in enumerate(lines):
        if len(row) < 2 or not row[1].strip():
            raise InputError(f"{path}:{line}: expected `id,name`, found {row}")
        key, name = row[0].strip(), row[1].strip()
        # A header may have any names; ids are numbers or codes.
        if index == 0 and not key.startswith("/") and key[:1].isalpha():
            continue
        if key.startswith("/"):
            rows.append(_Row(len(rows) + 1, name, key))
        elif _NUMBER.fullmatch(key):
            rows.append(_Row(int(key), name))
        else:
            raise InputError(f"{path}:{line}: the id {key!r} is neither a number nor /m/...")
    return rows
