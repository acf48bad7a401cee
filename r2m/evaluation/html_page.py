"""A page of HTML that carries its pictures inside itself: it can be moved and mailed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords.images.files import read_file
from tfrecords.images.formats import reduce_to_8_bits
from tfrecords.writing.shards import Skip

PAGE_EDGE = 480
"""Pixels of the longer edge of a picture on a page."""

_QUALITY = 85
_PAPER = (255, 255, 255)

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


def html_page(
    *, title: str, note: str = "", facts: Mapping[str, Any], body: str, style: str = ""
) -> str:
    """Returns a page.

    Args:
        title: its heading.
        note: a sentence under it.
        facts: a table on top.
        body: HTML below it.
        style: CSS besides that of all pages.
    """
    listed = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    subtitle = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing on the page may load or run anything, whatever a caption contains.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{subtitle}\n<dl>{listed}</dl>\n</header>\n"
        f"{body}\n</body>\n</html>\n"
    )


def image_tag(picture: Image.Image, description: str) -> str:
    """Returns an image tag that contains a picture as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(description)}" '
        f'width="{picture.width}" height="{picture.height}" loading="lazy">'
    )


def open_picture(source: bytes | Path, edge: int) -> Image.Image | None:
    """Returns a picture, upright and in RGB; None where it cannot be read.

    Args:
        source: the bytes of a picture, or the path of an image file.
        edge: pixels of its longer edge at most.
    """
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
