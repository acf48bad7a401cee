"""Pictures with their captions as an HTML page and a contact sheet.

The page carries its pictures inside itself, so that it can be opened from disk, moved and mailed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from r2m.evaluation.box_labels import COLORS, Box, place_labels
from r2m.evaluation.contact_sheet import Tile, contact_sheet, square
from r2m.evaluation.html_page import PAGE_EDGE, html_page, image_tag, open_picture
from r2m.evaluation.output_files import write_whole
from tfrecords.errors import InputError

SHEET = "gallery.png"
"""File name of the contact sheet."""

_BOXED_EDGE = 960  # where boxes are looked at, cards are wider
_SHEET_MOST = 24
# CSS pixels of the narrowest picture with boxes, on a phone 320 wide, and of its labels.
_NARROWEST = 278
_LABEL_HEIGHT, _LETTER, _WIDE_LETTER, _PADDING = 18, 8.2, 14, 8


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One picture with what a model generated for it and what people wrote about it.

    Attributes:
        image_id: name of the picture.
        image: the bytes of a picture, or the path of an image file.
        caption: the generated caption, empty where the model generated no word; None where no
            model captioned the picture.
        concepts: words with their scores in 0..1, None where there is no score.
        references: captions that people wrote.
        cider: the caption's CIDEr (a fraction), when it is known.
        confidence: probability that the caption is as good as a typical human one, when it is
            known.
        boxes: drawn on the picture: (label, (ymin, xmin, ymax, xmax) in 0..1).
    """

    image_id: str
    image: bytes | Path
    caption: str | None
    concepts: Sequence[tuple[str, float | None]] = field(default=())
    references: Sequence[str] = field(default=())
    cider: float | None = None
    confidence: float | None = None
    boxes: Sequence[tuple[str, Box]] = field(default=())


def write_gallery(
    folder: Path | str,
    items: Sequence[GalleryItem],
    *,
    title: str,
    note: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `index.html` with all items and `gallery.png` with up to 24 of them.

    A picture that cannot be read gets an empty frame that says so.

    Args:
        folder: made when it does not exist.
        items: in the order shown; the contact sheet takes them at even distances.
        title: the page's heading.
        note: a sentence under it.
        settings: the run's settings, shown as a table on top.

    Returns:
        The path of the page.

    Raises:
        InputError: no items, or the disk is full.
    """
    if not items:
        raise InputError("a gallery needs at least one picture")
    chosen = spread(len(items), _SHEET_MOST)
    cards: list[str] = []
    tiles: list[Tile] = []
    for index, item in enumerate(items):
        picture = open_picture(item.image, _BOXED_EDGE if item.boxes else PAGE_EDGE)
        cards.append(_card(item, picture))
        if index in chosen:
            shown = None if picture is None else square(picture, item.boxes)
            tiles.append(Tile(shown, _sheet_text(item), soft=item.caption is None))
    boxed = any(item.boxes for item in items)
    # The page last: where it is, the sheet is too.
    write_whole(Path(folder, SHEET), contact_sheet(tiles))
    kind = ' class="boxed"' if boxed else ""
    page = html_page(
        title=title,
        note=note,
        facts={**(settings or {}), "pictures": len(cards)},
        body=f"<main{kind}>\n{''.join(cards)}</main>",
    )
    return write_whole(Path(folder, "index.html"), page)


def _sheet_text(item: GalleryItem) -> str:
    """The text below a picture of the contact sheet; what people wrote is marked as such."""
    if item.caption is not None:
        return item.caption
    if item.references:
        count = len(item.references)
        which = f"reference 1 of {count}" if count > 1 else "reference"
        return f"{which}: {item.references[0]}"
    return ", ".join(dict.fromkeys(word for word, _ in item.concepts)) or item.image_id


def spread(count: int, most: int) -> set[int]:
    """Returns at most `most` of the places 0..count-1, at even distances."""
    kept = min(count, most)
    return {index * count // kept for index in range(kept)}


def _card(item: GalleryItem, picture: Image.Image | None) -> str:
    parts: list[str] = []
    if item.caption is not None:
        caption = escape(item.caption).strip() or '<span class="none">no caption</span>'
        parts.append(f'<p class="caption">{caption}</p>')
    if item.concepts:
        chips = "".join(
            f"<li>{escape(word)}{'' if score is None else f' <span>{score:.2f}</span>'}</li>"
            for word, score in item.concepts
        )
        parts.append(f'<ul class="chips" aria-label="concepts">{chips}</ul>')
    if item.references:
        many = len(item.references)
        listed = "".join(f"<li>{escape(text)}</li>" for text in item.references)
        parts.append(
            f"<details open><summary>{many} reference{'s' * (many != 1)}</summary>"
            f"<ul>{listed}</ul></details>"
        )
    known = [] if item.cider is None else [f"CIDEr {100 * item.cider:.1f}"]
    if item.confidence is not None:
        known.append(f"confidence {100 * item.confidence:.0f} %")
    scores = f"<b>{', '.join(known)}</b>" if known else ""
    parts.append(f"<footer><span>{escape(item.image_id)}</span>{scores}</footer>")
    return f'<article>{_shown(item, picture)}<div class="body">{"".join(parts)}</div></article>\n'


def _shown(item: GalleryItem, picture: Image.Image | None) -> str:
    if picture is None:
        return '<div class="missing">picture cannot be read</div>'
    image = image_tag(picture, item.image_id)
    return _with_boxes(image, picture.width / picture.height, item.boxes) if item.boxes else image


def _with_boxes(image: str, shape: float, boxes: Sequence[tuple[str, Box]]) -> str:
    """A picture of width `shape` times its height with boxes and labels over it.

    Labels are text of the page, so that they keep their size however wide the picture is shown.
    """
    share = min(1.0, 4 / 3 * shape)  # of the card's width: no picture is higher than 3:4
    width = _NARROWEST * share
    sizes = [(min(_label_width(label), width), float(_LABEL_HEIGHT)) for label, _ in boxes]
    places = place_labels([box for _, box in boxes], sizes, (width, width / shape))
    outlines, labels = [], []
    for number, ((label, box), place) in enumerate(zip(boxes, places, strict=True)):
        color = f"--color:rgb{COLORS[number % len(COLORS)]}".replace(" ", "")
        ymin, xmin, ymax, xmax = (100 * min(max(float(edge), 0.0), 1.0) for edge in box)
        outlines.append(
            f'<i class="box" title="{escape(label)}" style="{color};left:{xmin:.2f}%;'
            f'top:{ymin:.2f}%;width:{xmax - xmin:.2f}%;height:{ymax - ymin:.2f}%"></i>'
        )
        if place is not None:
            left, top = 100 * place[0] / width, 100 * place[1] * shape / width
            labels.append(
                f'<span class="label" style="{color};left:{left:.2f}%;top:{top:.2f}%">'
                f"{escape(label)}</span>"
            )
    style = f"width:{100 * share:.2f}%;aspect-ratio:{shape:.4f}"
    over = "".join(outlines + labels)
    return f'<div class="boxes"><div class="frame" style="{style}">{image}{over}</div></div>'


def _label_width(text: str) -> float:
    """At most so many CSS pixels wide, whatever the font of the page is."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return wide * _WIDE_LETTER + (len(text) - wide) * _LETTER + _PADDING
