"""What a captioner says about pictures, to be looked at: an HTML page and a contact sheet.

The page carries its pictures inside itself, so that it can be opened from disk, moved and mailed.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from r2m.evaluation.files import write_whole
from tfrecords.errors import InputError
from tfrecords.images.files import read_file
from tfrecords.writing.shards import Skip

SHEET = "gallery.png"
"""File name of the contact sheet."""

_PAGE_EDGE = 480  # pixels of a picture's longer edge on the page
_QUALITY = 85
_SHEET_MOST = 24
_COLUMNS, _TILE, _GAP, _FONT_SIZE, _LINES = 4, 300, 16, 17, 4
_PAPER, _INK, _FAINT = (255, 255, 255), (24, 28, 34), (226, 229, 233)
_BOX_COLORS = ((214, 39, 40), (31, 119, 180), (44, 130, 44), (190, 90, 0), (120, 80, 170))


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One picture and what was said about it.

    Attributes:
        image_id: its name.
        image: the bytes of a picture, or the path of an image file.
        caption: the generated caption.
        concepts: what the detector saw: (word, score in 0..1).
        references: what people said.
        cider: the caption's CIDEr (a fraction), when it is known.
        boxes: drawn on the picture: (label, (ymin, xmin, ymax, xmax) in 0..1).
    """

    image_id: str
    image: bytes | Path
    caption: str
    concepts: Sequence[tuple[str, float]] = field(default=())
    references: Sequence[str] = field(default=())
    cider: float | None = None
    boxes: Sequence[tuple[str, tuple[float, ...]]] = field(default=())


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
    chosen = _spread(len(items), _SHEET_MOST)
    cards: list[str] = []
    tiles: list[tuple[Image.Image | None, str]] = []
    for index, item in enumerate(items):
        picture = _open(item.image)
        if picture is not None and item.boxes:
            picture = _with_boxes(picture, item.boxes)
        cards.append(_card(item, picture))
        if index in chosen:
            tiles.append((_square(picture), item.caption))
    # The page last: where it is, the sheet is too.
    write_whole(Path(folder, SHEET), _png(_sheet(tiles)))
    return write_whole(Path(folder, "index.html"), _page(title, note, settings or {}, cards))


def _spread(count: int, most: int) -> set[int]:
    kept = min(count, most)
    return {index * count // kept for index in range(kept)}


def _open(source: bytes | Path) -> Image.Image | None:
    """The picture, upright and in RGB, at the size of the page; None when it cannot be read."""
    data = source if isinstance(source, bytes) else read_file(source, source.name)
    if isinstance(data, Skip):
        return None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in ("RGBA", "LA", "P", "PA"):
                layer = upright.convert("RGBA")
                upright = Image.new("RGBA", layer.size, (*_PAPER, 255))
                upright.alpha_composite(layer)
            picture = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    picture.thumbnail((_PAGE_EDGE, _PAGE_EDGE))
    return picture


def _with_boxes(
    picture: Image.Image, boxes: Sequence[tuple[str, tuple[float, ...]]]
) -> Image.Image:
    scale = _PAGE_EDGE / max(picture.size)  # small pictures would hide behind their labels
    picture = picture.resize([max(1, round(scale * edge)) for edge in picture.size])
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=_FONT_SIZE - 3)
    for number, (label, (ymin, xmin, ymax, xmax)) in enumerate(boxes):
        color = _BOX_COLORS[number % len(_BOX_COLORS)]
        left, top = xmin * (picture.width - 1), ymin * (picture.height - 1)
        corner = xmax * (picture.width - 1), ymax * (picture.height - 1)
        draw.rectangle((left, top, *corner), outline=color, width=2)
        text = _drawable(label)
        place = (left + 3, min(max(top, 0), picture.height - _FONT_SIZE))
        draw.rectangle(draw.textbbox(place, text, font=font), fill=color)
        draw.text(place, text, font=font, fill=_PAPER)
    return picture


# --- the page ---

_STYLE = """
:root { color-scheme: light dark; --ink: #181c22; --soft: #5b6573; --paper: #f4f5f7; --card: #fff;
  --line: #dfe3e8; --chip: #e6eefb; --chip-ink: #1b4b91; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a0a8b4; --paper: #14171b;
  --card: #1e2227; --line: #333a43; --chip: #23344f; --chip-ink: #b9d2f8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header, main { max-width: 1500px; margin: 0 auto; padding: 1.25rem; }
header { padding-bottom: 0; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
.note { margin: 0 0 .75rem; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 0; padding: .75rem 1rem;
  border: 1px solid var(--line); border-radius: 8px; background: var(--card); font-size: .875rem; }
dl div { display: flex; gap: .45rem; min-width: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-weight: 600; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
article { display: flex; flex-direction: column; overflow: hidden; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; break-inside: avoid; }
article img, .missing { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3;
  object-fit: contain; background: var(--line); }
.missing { display: grid; place-items: center; color: var(--soft); font-size: .875rem; }
.body { padding: .75rem .9rem .9rem; display: flex; flex-direction: column; gap: .55rem; flex: 1; }
.caption { margin: 0; font-size: 1.05rem; font-weight: 600; overflow-wrap: anywhere; }
.none { color: var(--soft); font-style: italic; font-weight: 400; }
ul { margin: 0; padding: 0; list-style: none; }
.chips { display: flex; flex-wrap: wrap; gap: .3rem; }
.chips li { padding: .05rem .55rem; border-radius: 99px; background: var(--chip);
  color: var(--chip-ink); font-size: .82rem; overflow-wrap: anywhere; }
.chips span { opacity: .75; font-variant-numeric: tabular-nums; }
details { font-size: .9rem; } summary { cursor: pointer; color: var(--soft); }
details li { margin-top: .3rem; overflow-wrap: anywhere; }
footer { margin-top: auto; display: flex; justify-content: space-between; gap: .75rem;
  color: var(--soft); font-size: .78rem; }
footer span { overflow-wrap: anywhere; }
footer b { color: var(--ink); white-space: nowrap; font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } main { grid-template-columns: repeat(3, 1fr); } }
"""


def _page(title: str, note: str, settings: Mapping[str, Any], cards: Sequence[str]) -> str:
    rows = {**settings, "pictures": len(cards)}
    facts = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in rows.items()
    )
    subtitle = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing on the page may load or run anything, whatever a caption contains.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{subtitle}\n<dl>{facts}</dl>\n</header>\n"
        f"<main>\n{''.join(cards)}</main>\n</body>\n</html>\n"
    )


def _card(item: GalleryItem, picture: Image.Image | None) -> str:
    if picture is None:
        shown = '<div class="missing">picture cannot be read</div>'
    else:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=_QUALITY)
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        shown = (
            f'<img src="data:image/jpeg;base64,{data}" alt="{escape(item.caption)}" '
            f'width="{picture.width}" height="{picture.height}" loading="lazy">'
        )
    caption = escape(item.caption).strip() or '<span class="none">no caption</span>'
    chips = "".join(
        f"<li>{escape(word)} <span>{score:.2f}</span></li>" for word, score in item.concepts
    )
    references = "".join(f"<li>{escape(text)}</li>" for text in item.references)
    parts = [f'<p class="caption">{caption}</p>']
    if chips:
        parts.append(f'<ul class="chips" aria-label="concepts">{chips}</ul>')
    if references:
        many = len(item.references)
        parts.append(
            f"<details><summary>{many} reference{'s' * (many != 1)}</summary>"
            f"<ul>{references}</ul></details>"
        )
    cider = "" if item.cider is None else f"<b>CIDEr {100 * item.cider:.1f}</b>"
    parts.append(f"<footer><span>{escape(item.image_id)}</span>{cider}</footer>")
    return f'<article>{shown}<div class="body">{"".join(parts)}</div></article>\n'


# --- the contact sheet ---


def _square(picture: Image.Image | None) -> Image.Image | None:
    return None if picture is None else ImageOps.fit(picture, (_TILE, _TILE))


def _sheet(tiles: Sequence[tuple[Image.Image | None, str]]) -> Image.Image:
    font = ImageFont.load_default(size=_FONT_SIZE)
    texts = [_wrap(_drawable(caption) or "(no caption)", font) for _, caption in tiles]
    columns = min(_COLUMNS, len(tiles))
    line = _FONT_SIZE + 5
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    # A row is as high as its longest caption needs.
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
            picture = tiles[row * columns + column][0]
            if picture is None:
                draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_FAINT)
                draw.text((left + 12, top + 12), "picture cannot be read", font=font, fill=_INK)
            else:
                sheet.paste(picture, (left, top))
            for number, text in enumerate(lines):
                draw.text((left, top + _TILE + 6 + number * line), text, font=font, fill=_INK)
        top += height + _GAP
    return sheet


def _drawable(text: str) -> str:
    """Pillow's own font draws ASCII only: accents go, other letters become question marks."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", errors="replace").decode("ascii").strip()


def _wrap(text: str, font: Any) -> list[str]:
    """Breaks a caption into at most four lines as wide as a tile, the last cut off by `...`."""
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
    last = lines[_LINES - 1]
    while last and font.getlength(f"{last}...") > _TILE:
        last = last[:-1]
    return [*lines[: _LINES - 1], f"{last}..."]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
