"""Formats of boxes and scores in files.

A format is an order of four numbers, in pixels or, with the prefix `relative_`, as fractions of the
image's width and height:

| order | numbers |
|---|---|
| `xywh` | left, top, width, height |
| `xyxy` | left, top, right, bottom |
| `yxyx` | top, left, bottom, right |
| `cxcywh` | x and y of the center, width, height |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError

_RELATIVE = "relative_"
ORDERS = ("xywh", "xyxy", "yxyx", "cxcywh")
BOX_FORMATS = (*ORDERS, *(_RELATIVE + order for order in ORDERS))
SCORE_FORMATS = ("fraction", "percent")
_KEYS = ("boxes", "scores", "sizes")

BOX_HELP = (
    f"boxes= converts boxes that are not in the format of their kind: {', '.join(BOX_FORMATS)} "
    "(coco: xywh, open_images: relative_xyxy, hdf5: relative_yxyx); sizes= is a JSON with the "
    "sizes of the images, for boxes in pixels in files without sizes."
)


@dataclass(frozen=True, kw_only=True)
class BoxOptions:
    """The formats of a file, if they differ from those of its kind.

    Attributes:
        boxes: one of `BOX_FORMATS`; "" for the format of the kind of file.
        scores: one of `SCORE_FORMATS`; "" for fractions.
        sizes: JSON with the sizes of the images, for boxes in pixels in files without sizes.
    """

    boxes: str = ""
    scores: str = ""
    sizes: Path | None = None

    @property
    def recorded(self) -> dict[str, str]:
        """The options that are set, for manifests; empty for the default formats."""
        found = {"boxes": self.boxes, "sizes": self.sizes.name if self.sizes else ""}
        found["scores"] = self.scores if self.scores == "percent" else ""
        return {key: value for key, value in found.items() if value}


AS_EXPECTED = BoxOptions()


def split_box_options(text: str) -> tuple[list[str], BoxOptions]:
    """Splits `PART,...,boxes=FORMAT,scores=percent,sizes=FILE` of a command line.

    Returns:
        The parts without a key, and the options.

    Raises:
        InputError: a key or format is unknown, or a key is given twice.
    """
    parts: list[str] = []
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        # The first part is always a file, even if its name contains `=`.
        if not (parts and equals):
            parts.append(part)
            continue
        if key not in _KEYS or key in given or not value:
            raise InputError(f"{text!r}: expected each of {'=, '.join(_KEYS)}= once, found {part}")
        given[key] = value
    options = BoxOptions(
        boxes=given.get("boxes", ""),
        scores=given.get("scores", ""),
        sizes=Path(given["sizes"]) if "sizes" in given else None,
    )
    if options.boxes and options.boxes not in BOX_FORMATS:
        raise InputError(f"boxes={options.boxes} is not known; known: {', '.join(BOX_FORMATS)}")
    if options.scores and options.scores not in SCORE_FORMATS:
        raise InputError(f"scores={options.scores} is not known; known: {', '.join(SCORE_FORMATS)}")
    return parts, options


@dataclass(frozen=True)
class WrittenBoxes:
    """The N boxes of one image in the format of their file.

    Attributes:
        name: name of the image in the file.
        height: height of the image in pixels; 0 if the file does not contain it.
        width: width of the image in pixels; 0 if the file does not contain it.
        boxes: float64 [N, 4], in the format of the file.
        scores: float64 [N], in the format of the file.
        class_ids: [N].
        place: number of a box -> its place in the file, for messages.
    """

    name: str
    height: int
    width: int
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    place: Callable[[int], str]


def is_relative(box_format: str) -> bool:
    """Returns whether the numbers of a format are fractions of the image."""
    return box_format.startswith(_RELATIVE)


def corners(boxes: np.ndarray, box_format: str, sizes: np.ndarray) -> np.ndarray:
    """Converts boxes of any format to fractions of their image.

    Args:
        boxes: float64 [N, 4] in `box_format`.
        box_format: one of `BOX_FORMATS`.
        sizes: float64 [N, 2] or [1, 2], height and width in pixels; relative formats ignore them.

    Returns:
        float64 [N, 4]: ymin, xmin, ymax, xmax. Neither clipped nor checked.
    """
    a, b, c, d = boxes.T
    order = box_format.removeprefix(_RELATIVE)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if order == "xyxy":
            edges = (b, a, d, c)
        elif order == "yxyx":
            edges = (a, b, c, d)
        elif order == "xywh":
            edges = (b, a, b + d, a + c)
        else:
            edges = (b - d / 2, a - c / 2, b + d / 2, a + c / 2)
        found = np.stack(edges, axis=1)
        if not is_relative(box_format):
            found = found / np.concatenate([sizes, sizes], axis=1)
    return found


def describe_formats(formats: Sequence[str]) -> str:
    """Returns formats as flags, for messages: `boxes=xyxy` or `boxes=yxyx`."""
    return " or ".join(f"`boxes={name}`" for name in formats)
