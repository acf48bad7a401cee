"""Contact sheet: pictures in rows, with a text below each."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

from r2m.evaluation.pages.box_labels import COLORS, Box, place_labels

_COLUMNS, _TILE, _GAP, _FONT_SIZE, _LINES = 4, 300, 16, 17, 4
_LABEL_SIZE, _LABEL_PADDING = 15, 3
_PAPER, _INK, _SOFT, _FAINT = (255, 255, 255), (24, 28, 34), (91, 101, 115), (226, 229, 233)


class Tile(NamedTuple):
    """A picture of the sheet and the text below it.

    Attributes:
        picture: square picture, see `square`; None if there is none.
        text: text below the picture.
        soft: whether the text is gray, because no model generated it.
        missing: text in the place of a picture that is None.
    """

    picture: Image.Image | None
    text: str
    soft: bool = False
    missing: str = "picture cannot be read"


def square(picture: Image.Image, boxes: Sequence[tuple[str, Box]] = ()) -> Image.Image:
    """Crops a picture to a square as large as a tile, with labeled boxes drawn on it.

    Args:
        picture: RGB picture of any size.
        boxes: pairs of label and box.
    """
    tile = ImageOps.fit(picture, (_TILE, _TILE))
    if not boxes:
        return tile
    # `fit` keeps the center; this is the crop in fractions of the picture:
    shown_width, shown_height = (min(picture.size) / edge for edge in picture.size)
    left, top = (1 - shown_width) / 2, (1 - shown_height) / 2
    cropped = [
        (
            label,
            (
                (ymin - top) / shown_height,
                (xmin - left) / shown_width,
                (ymax - top) / shown_height,
                (xmax - left) / shown_width,
            ),
        )
        for label, (ymin, xmin, ymax, xmax) in boxes
    ]
    visible = [
        (number, label, box)
        for number, (label, box) in enumerate(cropped)
        if box[0] < 1 and box[1] < 1 and box[2] > 0 and box[3] > 0
    ]
    _draw_boxes(tile, visible)
    return tile


def _draw_boxes(tile: Image.Image, boxes: Sequence[tuple[int, str, Box]]) -> None:
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=_LABEL_SIZE)
    for number, _, (ymin, xmin, ymax, xmax) in boxes:
        edges = [edge * (_TILE - 1) for edge in (xmin, ymin, xmax, ymax)]
        draw.rectangle(edges, outline=COLORS[number % len(COLORS)], width=2)
    room = _TILE - 2 * _LABEL_PADDING
    texts = [_cut(drawable(label), font, room) for _, label, _ in boxes]
    sizes = [
        (font.getlength(text) + 2 * _LABEL_PADDING, float(_LABEL_SIZE + _LABEL_PADDING))
        for text in texts
    ]
    places = place_labels([box for *_, box in boxes], sizes, (_TILE, _TILE))
    for (number, *_), text, place, (width, height) in zip(boxes, texts, places, sizes, strict=True):
        if place is not None:
            left, top = place
            color = COLORS[number % len(COLORS)]
            draw.rectangle((left, top, left + width - 1, top + height - 1), fill=color)
            draw.text((left + _LABEL_PADDING, top), text, font=font, fill=_PAPER)


def contact_sheet(tiles: Sequence[Tile]) -> bytes:
    """Returns the sheet as a PNG file."""
    font = ImageFont.load_default(size=_FONT_SIZE)
    texts = [wrap(drawable(tile.text) or "(no caption)", font) for tile in tiles]
    columns = min(_COLUMNS, len(tiles))
    line = _FONT_SIZE + 5
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    # The longest text of a row determines its height.
    heights = [_TILE + 8 + line * max(len(lines) for lines in row) for row in rows]
    size = (
        columns * (_TILE + _GAP) + _GAP,
        sum(heights) + _GAP * (len(rows) + 1),
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row, height in enumerate(heights):
        for column, lines in enumerate(rows[row]):
            left = _GAP + column * (_TILE + _GAP)
            tile = tiles[row * columns + column]
            if tile.picture is None:
                draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_FAINT)
                draw.text((left + 12, top + 12), tile.missing, font=font, fill=_INK)
            else:
                sheet.paste(tile.picture, (left, top))
            ink = _SOFT if tile.soft else _INK
            for number, text in enumerate(lines):
                draw.text((left, top + _TILE + 6 + number * line), text, font=font, fill=ink)
        top += height + _GAP
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def drawable(text: str) -> str:
    """Returns text in ASCII, because Pillow's default font draws only ASCII.

    Accents are removed, other letters become question marks.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", errors="replace").decode("ascii").strip()


def wrap(text: str, font: Any) -> list[str]:
    """Breaks a text into at most four lines as wide as a tile; the last one may end in `...`."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= _TILE:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        while font.getlength(word) > _TILE:
            cut = next(n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= _TILE)
            lines[-1], word = word[:cut], word[cut:]
            lines.append("")
        lines[-1] = word
    if len(lines) <= _LINES:
        return lines
    return [*lines[: _LINES - 1], _cut(lines[_LINES - 1], font, _TILE, always=True)]


def _cut(text: str, font: Any, width: float, *, always: bool = False) -> str:
    """Truncates a text that is wider than `width` and appends `...`."""
    if not always and font.getlength(text) <= width:
        return text
    text = text.rstrip()
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
