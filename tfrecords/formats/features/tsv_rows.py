"""The rows of TSVs of features, in the layouts of several code bases.

| layout | columns |
|---|---|
| bottom-up attention | `image_id`, `image_w`, `image_h`, `num_boxes`, `boxes`, `features` |
| LXMERT | `img_id`, `img_h`, `img_w`, four of classes, `num_boxes`, `boxes`, `features` |
| OSCAR | `image_id`, `num_boxes`, `features` |
| VinVL | `image_id`, JSON of `num_boxes`, `features` or of `objects` (`rect`, `feature`) |

Boxes are x1, y1, x2, y2 in pixels; boxes and features are base64 of float32.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.arrays import finite
from tfrecords.formats.features.pixel_boxes import check_corners, place_boxes
from tfrecords.formats.features.pixel_sizes import checked_size
from tfrecords.formats.features.types import StoredFeatures

BOTTOM_UP = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
LXMERT = ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf",
          "num_boxes", "boxes", "features")  # fmt: skip
OSCAR = ("image_id", "num_boxes", "features")
VINVL = ("image_id", "JSON")
_WIDTHS, _HEIGHTS = ("image_w", "img_w", "width"), ("image_h", "img_h", "height")

Columns = tuple[str, ...]


def layout_of(line: bytes) -> Columns:
    """Returns the columns of a file from its first line; defaults to bottom-up attention."""
    fields = line.rstrip(b"\r\n").split(b"\t")
    if len(fields) == len(LXMERT):
        return LXMERT
    if len(fields) == len(OSCAR) and fields[1].isdigit():
        return OSCAR
    if len(fields) == len(VINVL) and fields[1].startswith(b"{"):
        return VINVL
    return BOTTOM_UP


def parse_row(
    data: bytes, columns: Columns, feature_size: int | None, where: str
) -> StoredFeatures:
    """Returns the features in a line.

    Args:
        data: the line.
        columns: columns of the file, see `layout_of`.
        feature_size: D of the regions; None infers D from this line.
        where: name of the line in messages.

    Raises:
        InputError: the line has other columns, or a column contains an invalid value.
    """
    fields = data.rstrip(b"\r\n").split(b"\t")
    if len(fields) != len(columns):
        raise InputError(
            f"{where}: {len(fields)} columns, expected {', '.join(columns)}: is the file cut short?"
        )
    row: dict[str, Any] = dict(zip(columns, fields, strict=True))
    if columns == VINVL:
        row = _vinvl_row(fields[1], where)
    height, width = (
        next((_number(row[name], name, where) for name in names if name in row), None)
        for names in (_HEIGHTS, _WIDTHS)
    )
    if height is not None and width is not None:
        height, width = checked_size(height, width, where)
    count = _number(row["num_boxes"], "num_boxes", where)
    if count < 1:
        raise InputError(f"{where}: no boxes")
    corners = None
    if "boxes" in row:
        corners = row["boxes"]
        if not isinstance(corners, np.ndarray):
            corners = _numbers(_decoded(corners, "boxes", where), "boxes", count, 4, where)
        check_corners(corners, where)
    raw = _decoded(row["features"], "features", where)
    if feature_size is None:
        numbers = len(raw) // 4
        if not numbers or numbers % count:
            raise InputError(f"{where}: {numbers} numbers of features for {count} boxes")
        feature_size = numbers // count
    found = StoredFeatures(
        region_feature=_numbers(raw, "features", count, feature_size, where),
        corners=corners,
        height=height,
        width=width,
    )
    if height is None or width is None:
        return found
    return place_boxes(found, height, width, where)


def _vinvl_row(data: bytes, where: str) -> dict[str, Any]:
    """Returns the values in the JSON of a line, keyed by column names."""
    row: dict[str, Any]
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}): is the file cut short?") from None
    if not isinstance(content, dict):
        raise InputError(f"{where}: JSON of {type(content).__name__}, expected an object")
    sizes = {key: content[key] for key in (*_WIDTHS, *_HEIGHTS) if key in content}
    if {"num_boxes", "features"} <= content.keys():
        boxes = {"boxes": content["boxes"]} if isinstance(content.get("boxes"), str) else {}
        return {
            "num_boxes": content["num_boxes"],
            "features": content["features"],
            **boxes,
            **sizes,
        }
    objects = content.get("objects")
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise InputError(
            f"{where}: JSON with {', '.join(map(repr, list(content)[:6])) or 'nothing'}; expected "
            "`num_boxes` and `features`, or `objects` with `rect` and `feature`"
        )
    if not all("feature" in item for item in objects):
        raise InputError(
            f"{where}: its objects have no `feature`: this is a file of labels; give the file of "
            "features"
        )
    parts = [_decoded(item["feature"], "feature", where) for item in objects]
    if any(len(part) != len(parts[0]) for part in parts):
        raise InputError(f"{where}: features of different lengths")
    row = {"num_boxes": len(objects), "features": base64.b64encode(b"".join(parts))}
    rects = [item.get("rect") for item in objects]
    if all(isinstance(rect, list) for rect in rects) and rects:
        try:
            row["boxes"] = np.array(rects, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{where}: `rect` is not four numbers") from None
    return row | sizes


def _numbers(raw: bytes, name: str, count: int, size: int, where: str) -> np.ndarray:
    if len(raw) != 4 * size * count:
        raise InputError(
            f"{where}: {name} has {len(raw)} bytes, expected {4 * size * count} ({count} boxes, "
            f"{size} float32 each)"
        )
    return finite(np.frombuffer(raw, "<f4").reshape(count, size), f"{where}: {name}")


def _number(field: Any, name: str, where: str) -> int:
    if type(field) is int and 0 <= field < 1 << 31:
        return field
    if not isinstance(field, bytes) or not field.isdigit() or len(field) > 9:
        shown = repr(field[:40] if isinstance(field, bytes) else field)[:60]
        raise InputError(f"{where}: {name} is {shown}, expected a whole number")
    return int(field)


def _decoded(field: Any, name: str, where: str) -> bytes:
    try:
        return base64.b64decode(field, validate=True)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: {name} is not base64 ({error}): is the file cut short or damaged?"
        ) from None
