"""Reference captions by image, read from the formats they are published in."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tfrecords.errors import InputError

_FORMATS = (
    "Flickr8k/30k `name#number<TAB>caption`, a CSV `image,caption`, COCO captions JSON "
    "(`images` and `annotations`) or Karpathy JSON (`images` with `sentences` or `captions`)"
)


def read_references(path: str | Path) -> dict[str, list[str]]:
    """Reads the captions people wrote for images.

    Args:
        path: a file in one of the formats: Flickr8k/30k token file, `.csv` with the columns
            `image,caption`, COCO captions `.json`, Karpathy `.json`.

    Returns:
        File name of the image (without folder) -> its captions, in the order of the file.

    Raises:
        InputError: the file is missing, malformed or has no caption.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no file of reference captions {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the reference captions {path}: {error}") from error
    suffix = path.suffix.lower()
    if suffix == ".json":
        captions = _from_json(text, path)
    elif suffix == ".csv":
        captions = _from_csv(text, path)
    else:
        captions = _from_tokens(text, path)
    if not captions:
        raise InputError(f"{path} has no caption; expected {_FORMATS}")
    return captions


def _from_tokens(text: str, path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name = key.rpartition("#")[0] or key
        if not tab or not name.strip() or not caption.strip():
            raise InputError(
                f"{path}:{number}: expected `name#number<TAB>caption`, found {line[:80]!r}"
            )
        captions[Path(name.strip()).name].append(caption.strip())
    return dict(captions)


def _from_csv(text: str, path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if number == 1 and [cell.strip().lower() for cell in row[:2]] == ["image", "caption"]:
            continue
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise InputError(f"{path}:{number}: expected `image,caption`, found {row}")
        captions[Path(row[0].strip()).name].append(row[1].strip())
    return dict(captions)


def _from_json(text: str, path: Path) -> dict[str, list[str]]:
    try:
        data = json.loads(text)
        if "annotations" in data:
            return _from_coco(data)
        return _from_karpathy(data)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is malformed ({type(error).__name__} {error}); expected {_FORMATS}"
        ) from error


def _from_coco(data: dict[str, Any]) -> dict[str, list[str]]:
    names = {image["id"]: Path(image["file_name"]).name for image in data["images"]}
    captions: dict[str, list[str]] = defaultdict(list)
    for row in data["annotations"]:
        captions[names[row["image_id"]]].append(row["caption"].strip())
    return dict(captions)


def _from_karpathy(data: dict[str, Any]) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for image in data["images"]:
        name = Path(image["file_name"] if "file_name" in image else image["filename"]).name
        rows = image["captions"] if "captions" in image else image["sentences"]
        captions[name] = [(row if isinstance(row, str) else row["raw"]).strip() for row in rows]
    return captions
