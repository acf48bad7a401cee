"""Names of the rows of arrays that have one row per image."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import numbered_lines, read_text
from tfrecords.formats.features.arrays import npy_header
from tfrecords.formats.features.field_names import fields_by_role

_WHAT = "list of the names of rows"
_PICKLES = (".pkl", ".pickle", ".p")


def read_row_names(path: Path) -> dict[str, int]:
    """Reads a list of image names in the order of the rows of an array.

    Args:
        path: a text file with one name per line; a JSON list of names, numbers or objects with
            `image_id`, `id` or `file_name`, a JSON object with such a list under `images`, or one
            of name -> row; a .npy of numbers or text; or a pickle of a list or of a dictionary name
            -> row (`train36_imgid2idx.pkl`), of which only plain data is read.

    Returns:
        Mapping from name to row.

    Raises:
        InputError: the file is missing or damaged, two rows have the same name, or a row has no
            name.
    """
    if path.suffix == ".json":
        try:
            content = json.loads(read_text(path, _WHAT))
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {error}") from None
        except RecursionError:
            raise InputError(f"{path} is nested too deeply for a {_WHAT}") from None
        return names_of_rows(content, str(path))
    if path.suffix == ".npy":
        return names_of_rows(_npy_names(path), str(path))
    if path.suffix in _PICKLES:
        from tfrecords.core.safe_pickle import load_pickle

        try:
            with path.open("rb") as stream:
                content = load_pickle(stream, path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error}") from error
        return names_of_rows(content, str(path))
    names = [line.strip() for _, line in numbered_lines(path, _WHAT)]
    while names and not names[-1]:
        names.pop()
    return names_of_rows(names, str(path))


def names_of_rows(content: Any, where: str) -> dict[str, int]:
    """Returns a mapping from name to row for a list of names; see `read_row_names`.

    Raises:
        InputError: the content is not such a list; names `where` and the row.
    """
    if isinstance(content, Mapping) and isinstance(content.get("images"), list):
        content = content["images"]
    if isinstance(content, np.ndarray):
        content = content.reshape(-1).tolist()
    if isinstance(content, Mapping):
        content = _in_order(content, where)
    if not isinstance(content, Sequence) or isinstance(content, (str, bytes)) or not content:
        raise InputError(
            f"{where}: {str(content)[:60]!r}; expected a list of names of images in the order of "
            "the rows, or an object of name -> row"
        )
    found: dict[str, int] = {}
    for row, value in enumerate(content):
        name = _name(value, f"{where}: row {row}")
        if name in found:
            raise InputError(f"{where}: rows {found[name]} and {row} are both named {name!r}")
        found[name] = row
    return found


def _in_order(rows: Mapping[Any, Any], where: str) -> list[Any]:
    """Returns the names of a mapping name -> row, sorted by row."""
    names: list[Any] = [None] * len(rows)
    for name, row in rows.items():
        fits = isinstance(row, (int, np.integer)) and 0 <= row < len(names)
        if not fits or names[row] is not None:
            raise InputError(
                f"{where}: {str(name)[:60]!r} has row {str(row)[:60]}; expected each of the "
                f"rows 0 to {len(names) - 1} once"
            )
        names[row] = name
    return names


def _name(value: Any, where: str) -> str:
    if isinstance(value, Mapping):
        by_role = fields_by_role(key for key in value if isinstance(key, str))
        value = value.get(by_role["ids"]) if "ids" in by_role else value
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if isinstance(value, bool) or not isinstance(value, (str, int, np.integer)):
        raise InputError(
            f"{where} is {str(value)[:60]!r}, expected the name or the number of an image"
        )
    name = str(value).strip()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} is {name[:60]!r}, which is not UTF-8") from None
    if not name:
        raise InputError(f"{where} has no name")
    return name


def _npy_names(path: Path) -> list[Any]:
    try:
        with path.open("rb") as stream:
            shape, _, dtype, start = npy_header(stream, path.stat().st_size)
            if dtype.kind not in "iuSU":
                raise ValueError(f"it contains {dtype}, expected numbers or text")
            stream.seek(start)
            data = stream.read(math.prod(shape) * dtype.itemsize)
        names: list[Any] = np.frombuffer(data, dtype, math.prod(shape)).tolist()
        return names
    except Exception as error:  # a damaged header can fail in any way
        raise InputError(f"{path} cannot be read as a {_WHAT}: {error}") from error
