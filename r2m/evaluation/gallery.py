"""Pictures with their captions as an HTML page and a contact sheet.

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

from PIL import Image, ImageOps, UnidentifiedImageError

from r2m.evaluation.box_labels import COLORS, Box, place_labels
from r2m.evaluation.contact_sheet import Tile, contact_sheet, square
from r2m.evaluation.output_files import write_whole
from tfrecords.errors import InputError
from tfrecords.images.files import read_file
from tfrecords.images.formats import reduce_to_8_bits
from tfrecords.writing.shards import Skip

SHEET = "gallery.png"
"""File name of the contact sheet."""

_PAGE_EDGE = 480  # pixels of a picture's longer edge on the page
_BOXED_EDGE = 960  # where boxes are looked at, cards are wider
_QUALITY = 85
_PAPER = (255, 255, 255)
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
        picture = _open(item.image, _BOXED_EDGE if item.boxes else _PAGE_EDGE)
        cards.append(_card(item, picture))
        if index in chosen:
            shown = None if picture is None else square(picture, item.boxes)
            tiles.append(Tile(shown, _sheet_text(item), soft=item.caption is None))
    boxed = any(item.boxes for item in items)
    # The page last: where it is, the sheet is too.
    write_whole(Path(folder, SHEET), contact_sheet(tiles))
    return write_whole(Path(folder, "index.html"), _page(title, note, settings or {}, cards, boxed))


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


def _open(source: bytes | Path, edge: int) -> Image.Image | None:
    """The picture, upright and in RGB, at most `edge` wide and high; None if it is unreadable."""
    data = source if isinstance(source, bytes) else read_file(source, source.name)
    if isinstance(data, Skip):
        return None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = reduce_to_8_bits(ImageOps.exif_transpose(opened))
            if upright.mode in ("RGBA", "LA", "P", "PA"):
                layer = upright.convert("RGBA")
                upright = Image.new("RGBA", layer.size, (*_PAPER, 255))
                upright.alpha_composite(layer)
            picture = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    picture.thumbnail((edge, edge))
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
main.boxed { grid-template-columns: repeat(auto-fill, minmax(min(400px, 100%), 1fr)); }
article { display: flex; flex-direction: column; overflow: hidden; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; break-inside: avoid; }
article img, .missing { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3;
  object-fit: contain; background: var(--line); }
.boxes { display: grid; justify-items: center; background: var(--line); }
.frame { position: relative; overflow: hidden; }
.frame img { aspect-ratio: auto; height: 100%; }
.box { position: absolute; border: 2px solid var(--color); box-shadow: 0 0 0 1px #ffffffb0; }
.label { position: absolute; max-width: 100%; padding: 0 4px; overflow: hidden; color: #fff;
  background: var(--color); font-size: 13px; line-height: 18px; font-weight: 600;
  white-space: nowrap; text-overflow: ellipsis; print-color-adjust: exact; }
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
details li { margin-top: .3rem; padding-left: .6rem; border-left: 3px solid var(--line);
  overflow-wrap: anywhere; }
footer { margin-top: auto; display: flex; justify-content: space-between; gap: .75rem;
  color: var(--soft); font-size: .78rem; }
footer span { overflow-wrap: anywhere; }
footer b { color: var(--ink); white-space: nowrap; font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } main { grid-template-columns: repeat(3, 1fr); } }
"""


def _page(
    title: str, note: str, settings: Mapping[str, Any], cards: Sequence[str], boxed: bool
) -> str:
    rows = {**settings, "pictures": len(cards)}
    facts = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in rows.items()
    )
    kind = ' class="boxed"' if boxed else ""
    subtitle = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing on the page may load or run anything, whatever a caption contains.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{subtitle}\n<dl>{facts}</dl>\n</header>\n"
        f"<main{kind}>\n{''.join(cards)}</main>\n</body>\n</html>\n"
    )


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
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    image = (
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(item.image_id)}" '
        f'width="{picture.width}" height="{picture.height}" loading="lazy">'
    )
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
