"""Images with their captions as items of pages, and as the data of a page."""

from __future__ import annotations

import base64
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r2m.evaluation.pages.box_labels import COLORS, Box, place_labels

# CSS pixels of the narrowest picture with boxes, on a phone 320 pixels wide, and of its labels.
_NARROWEST = 278
_LABEL_HEIGHT, _LETTER, _WIDE_LETTER, _PADDING = 18, 8.2, 14, 8
_DIGITS = 5  # decimals of scores


class ScoreFormat(NamedTuple):
    """Display of a score.

    Attributes:
        label: name of the score.
        factor: factor that the score is multiplied by.
        digits: number of decimals.
        unit: unit printed after the number.
    """

    label: str
    factor: float = 1.0
    digits: int = 3
    unit: str = ""


SCORES = {
    "cider": ScoreFormat("CIDEr", 100, 1),
    "confidence": ScoreFormat("confidence", 100, 0, " %"),
    "score": ScoreFormat("search score", 1, 3),
    "log_probability": ScoreFormat("log probability", 1, 2),
    "consensus_score": ScoreFormat("consensus score", 1, 3),
    "image_text_score": ScoreFormat("image-text score", 1, 3),
}
"""Scores of captions that galleries can show, in the order of their columns."""


@dataclass(frozen=True, kw_only=True)
class ShownCaption:
    """A caption of an image.

    Attributes:
        text: text of the caption; empty if the model generated no word.
        scores: values by the names of `SCORES`, or of `write_gallery`'s own scores.
        source: model that generated it, where several models captioned the image.
    """

    text: str
    scores: Mapping[str, float | None] = field(default_factory=dict)
    source: str = ""


class WordMaps(NamedTuple):
    """Attention over an image for each word of its first caption.

    Attributes:
        words: words of the caption.
        weights: float[len(words), gh, gw].
        part: top, left, height and width of the area that the maps cover, as fractions of the
            image.
    """

    words: Sequence[str]
    weights: np.ndarray
    part: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """An image with generated captions and reference captions.

    Attributes:
        image_id: name of the image.
        image: bytes of a picture, or path of an image file; None for no picture.
        captions: generated captions, the best one first, or one per model; empty if no model
            captioned the image.
        concepts: words with their scores in 0..1, or None without scores.
        references: captions that people wrote.
        boxes: boxes drawn on the picture: (label, (ymin, xmin, ymax, xmax) in 0..1).
        attention: attention of the first caption; None if unknown.
        scores: scores of the image, besides those of its first caption.
        groups: names of groups for the filter of the page.
        note: problem with the image.
    """

    image_id: str
    image: bytes | Path | None
    captions: Sequence[ShownCaption] = ()
    concepts: Sequence[tuple[str, float | None]] = ()
    references: Sequence[str] = ()
    boxes: Sequence[tuple[str, Box]] = ()
    attention: WordMaps | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    groups: Sequence[str] = ()
    note: str = ""


def captions_of_row(
    row: Mapping[str, Any], scores: Mapping[str, float | None] | None = None
) -> list[ShownCaption]:
    """Returns the captions of a row of predictions, best first.

    Args:
        row: a row with `caption`, scores by their names and, for several captions, `captions`.
        scores: further scores of the best one.
    """
    found = []
    for place, own in enumerate(row.get("captions") or [row]):
        known = {name: own.get(name) for name in SCORES}
        if place == 0:
            known |= {name: row.get(name) for name in SCORES if name in row} | dict(scores or {})
        found.append(ShownCaption(text=own["caption"], scores=known))
    return found


def item_data(item: GalleryItem, picture: str | None, size: tuple[int, int]) -> dict[str, Any]:
    """Returns an item in the form that the viewer reads, without empty keys.

    Args:
        item: item of the gallery.
        picture: URL of its picture; None if it cannot be read.
        size: width and height of the picture in pixels.
    """
    first = item.captions[0].scores if item.captions else {}
    found = {
        "name": item.image_id,
        "picture": picture,
        "size": list(size) if picture else None,
        "pictured": False if item.image is None else None,
        "captions": [
            _present({"text": one.text, "source": one.source, "scores": _rounded(one.scores)})
            | {"text": one.text}
            for one in item.captions
        ],
        "scores": _rounded({**first, **item.scores}),
        "concepts": [
            [word] if score is None else [word, round(score, _DIGITS)]
            for word, score in item.concepts
        ],
        "references": list(item.references),
        "boxes": _boxes(item.boxes, size[0] / size[1]) if picture else None,
        "attention": None if item.attention is None else _attention(item.attention),
        "groups": list(item.groups),
        "note": item.note,
    }
    return _present(found)


def _present(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value not in (None, "", [], {})}


def _rounded(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: round(float(value), _DIGITS)
        for name, value in scores.items()
        if value is not None and math.isfinite(value)
    }


def _attention(maps: WordMaps) -> dict[str, Any]:
    """Returns maps as bytes in base64, each relative to its largest weight."""
    weights = np.asarray(maps.weights, np.float32)
    largest = np.maximum(weights.max(axis=(1, 2), keepdims=True, initial=0), 1e-9)
    cells = np.round(255 * weights / largest).astype(np.uint8)
    return {
        "words": list(maps.words),
        "grid": list(cells.shape[1:]),
        "maps": base64.b64encode(cells.tobytes()).decode("ascii"),
        "part": [round(edge, 4) for edge in maps.part],
    }


def _boxes(boxes: Sequence[tuple[str, Box]], shape: float) -> list[dict[str, Any]]:
    """Returns boxes and places of their labels, in percent of a picture's width and height.

    Labels are text of the page, so that their size does not depend on the width of the picture.

    Args:
        boxes: boxes of the picture.
        shape: width of the picture divided by its height.
    """
    share = min(1.0, 4 / 3 * shape)  # share of the card's width: no picture is higher than 3:4
    width = _NARROWEST * share
    sizes = [(min(_label_width(label), width), float(_LABEL_HEIGHT)) for label, _ in boxes]
    places = place_labels([box for _, box in boxes], sizes, (width, width / shape))
    found = []
    for number, ((label, box), place) in enumerate(zip(boxes, places, strict=True)):
        ymin, xmin, ymax, xmax = (100 * min(max(float(edge), 0.0), 1.0) for edge in box)
        entry: dict[str, Any] = {
            "label": label,
            "color": f"rgb{COLORS[number % len(COLORS)]}",
            "box": [round(edge, 2) for edge in (xmin, ymin, xmax - xmin, ymax - ymin)],
        }
        if place is not None:
            left, top = 100 * place[0] / width, 100 * place[1] * shape / width
            entry["place"] = [round(left, 2), round(top, 2)]
        found.append(entry)
    return found


def _label_width(text: str) -> float:
    """Returns an upper bound of a label's width in CSS pixels, for any font of the page."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return wide * _WIDE_LETTER + (len(text) - wide) * _LETTER + _PADDING
