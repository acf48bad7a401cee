"""Answers of the app as HTML; all text is escaped by the templates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from r2m.evaluation.attention_pictures import attention_overlay
from r2m.evaluation.pages.gallery_items import SCORES, GalleryItem, WordMaps
from r2m.evaluation.pages.pictures import Thumbnail, encode_thumbnail, open_picture
from r2m.evaluation.pages.search_page import SearchResult, shown_hits
from r2m.evaluation.pages.templates import render_part
from tfrecords.pictures.image_formats import READ_FORMATS

_EDGE = 800  # pixels of the longer edge of the picture
_PANEL = 240  # and of a panel of attention


class _Panel(NamedTuple):
    """Attention for a word: the picture, and the largest weight of a cell."""

    word: str
    picture: Thumbnail
    weight: float


def caption_answer(item: GalleryItem) -> str:
    """Returns an image, or concepts, with captions, or with the reason why there are none."""
    # An image that cannot be read has an empty caption, or none.
    problem = "" if any(caption.text for caption in item.captions) else item.note
    picture = None if item.image is None or problem else open_picture(item.image, _EDGE)
    return render_part(
        "app_caption.html",
        name=item.image_id,
        problem=problem,
        formats=() if item.image is None else READ_FORMATS,
        note=item.note,
        picture=None if picture is None else encode_thumbnail(picture),
        captions=[
            {"text": caption.text, "numbers": _numbers(caption.scores)} for caption in item.captions
        ],
        concepts=item.concepts,
        panels=[] if picture is None else _panels(picture, item.attention),
    )


def search_answer(result: SearchResult) -> str:
    """Returns the results of a search."""
    return render_part("app_search.html", hits=shown_hits(result))


def error_answer(message: str) -> str:
    """Returns an error."""
    return render_part("app_error.html", message=message[:1].upper() + message[1:])


def _numbers(scores: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Returns labels and values of the available scores, formatted as in galleries."""
    return [
        (form.label, f"{value * form.factor:.{form.digits}f}{form.unit}")
        for name, form in SCORES.items()
        if (value := scores.get(name)) is not None and math.isfinite(value)
    ]


def _panels(picture: Image.Image, maps: WordMaps | None) -> list[Any]:
    if maps is None:
        return []
    top, left, height, width = maps.part
    box = (left, top, left + width, top + height)
    edges = [round(share * edge) for share, edge in zip(box, picture.size * 2, strict=True)]
    part = picture.crop((edges[0], edges[1], max(edges[2], edges[0] + 1),
                         max(edges[3], edges[1] + 1)))  # fmt: skip
    part.thumbnail((_PANEL, _PANEL))
    pixels = np.asarray(part)
    return [
        _Panel(word, encode_thumbnail(attention_overlay(pixels, cells)), float(cells.max()))
        for word, cells in zip(maps.words, maps.weights, strict=True)
    ]
