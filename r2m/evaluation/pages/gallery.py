"""Images with their captions as an HTML page, the viewer, and as a contact sheet.

The page opens from disk. Its pictures are files that the browser loads when they are scrolled into
view, and its data is a script, see `r2m.evaluation.pages.templates`. Alternatively one file
contains everything, for example for mailing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.evaluation.output_files import write_whole
from r2m.evaluation.pages.box_labels import Box
from r2m.evaluation.pages.contact_sheet import Tile, contact_sheet, square
from r2m.evaluation.pages.gallery_items import SCORES, GalleryItem, ScoreFormat, item_data
from r2m.evaluation.pages.pictures import PAGE_EDGE, Thumbnail, make_thumbnails, read_picture
from r2m.evaluation.pages.templates import render_page, script_json
from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, make_folder, readable_bytes

PAGE = "index.html"
SHEET = "gallery.png"
"""File name of the contact sheet."""

FILES = "index.files"
"""Folder with the data and pictures of the page, in the folder of the page."""

_DATA = "items.js"
_OWN = re.compile(r"items\.js|\d{6,}\.jpg")
_BOXED_EDGE = 960  # cards with boxes are wider
_SHEET_MOST = 24
_MAILED = 20 << 20  # bytes that most mail servers accept


class _SheetText(NamedTuple):
    """Content of a tile of the contact sheet, without its picture."""

    text: str
    soft: bool
    boxes: tuple[tuple[str, Box], ...]
    missing: str


def write_gallery(
    folder: Path | str,
    items: Iterable[GalleryItem],
    *,
    title: str,
    note: str = "",
    settings: Mapping[str, Any] | None = None,
    scores: Mapping[str, ScoreFormat] | None = None,
    single_file: bool = False,
    links: Sequence[str] = (),
    template: str = "gallery.html",
    **content: Any,
) -> Path:
    """Writes `index.html` with all items and `gallery.png` with up to 24 of them.

    A missing or unreadable picture gets an empty frame with a note. Data and pictures of the page
    are in `index.files`, named by number, so that image names never become paths.

    Args:
        folder: output folder; created if it does not exist.
        items: items in the order shown, read one after the other; the contact sheet takes them at
            even distances.
        title: the page's heading.
        note: sentence below the heading.
        settings: settings of the run, shown as a table at the top.
        scores: scores of the items; they precede `SCORES` in the page.
        single_file: whether the page itself contains pictures and data.
        links: URLs of files with the same captions, relative to the page; a page of a single file
            has none.
        template: a template that extends `gallery.html`.
        content: variables of such a template.

    Returns:
        The path of the page.

    Raises:
        InputError: there are no items, or the disk is full.
    """
    folder = Path(folder)
    make_folder(folder)
    remove_gallery(folder)  # so that an existing page is always complete
    rows: list[dict[str, Any]] = []
    texts: list[_SheetText] = []
    for item, thumbnail in make_thumbnails(items, _source, _edge):
        url = None if thumbnail is None else thumbnail.url
        if thumbnail is not None and not single_file:
            url = _write_picture(folder, len(rows), thumbnail)
        size = (0, 0) if thumbnail is None else (thumbnail.width, thumbnail.height)
        rows.append(item_data(item, url, size))
        texts.append(_sheet_text(item))
    if not rows:
        raise InputError("a gallery needs at least one picture")
    write_whole(folder / SHEET, contact_sheet(_tiles(folder, rows, texts)))
    known = {**(scores or {}), **SCORES}
    used = {name for row in rows for name in row.get("scores", ())}
    data = {
        "scores": {name: known[name]._asdict() for name in known if name in used},
        "items": rows,
    }
    if not single_file:
        write_whole(folder / FILES / _DATA, f"showGallery({script_json(data)});\n")
    page = render_page(
        template,
        title=title,
        note=note,
        facts={**(settings or {}), "images": len(rows)},
        count=len(rows),
        boxed=any("boxes" in row for row in rows),
        data=data if single_file else None,
        data_file=f"{FILES}/{_DATA}",
        links=() if single_file else links,
        **content,
    )
    path = write_whole(folder / PAGE, page)
    if single_file and (length := path.stat().st_size) > _MAILED:
        logging.warning(
            "%s has %s, more than most mail servers accept: show fewer images with --gallery",
            path, readable_bytes(length),
        )  # fmt: skip
    return path


def remove_gallery(folder: Path) -> None:
    """Removes the page, contact sheet, pictures and data that `write_gallery` wrote to a folder."""
    for name in (PAGE, SHEET):
        (folder / name).unlink(missing_ok=True)
    files = folder / FILES
    if files.is_dir() and not files.is_symlink():
        for file in files.iterdir():
            if _OWN.fullmatch(file.name):
                file.unlink()
        if not any(files.iterdir()):
            files.rmdir()


def spread(count: int, most: int) -> set[int]:
    """Returns at most `most` of the indices 0..count-1, evenly spaced."""
    kept = min(count, most)
    return {index * count // kept for index in range(kept)}


def _source(item: GalleryItem) -> bytes | Path | None:
    return item.image


def _edge(item: GalleryItem) -> int:
    return _BOXED_EDGE if item.boxes else PAGE_EDGE


def _write_picture(folder: Path, number: int, thumbnail: Thumbnail) -> str:
    """Writes a picture and returns its URL relative to the page."""
    name = f"{number:06d}.jpg"
    make_folder(folder / FILES)
    with clear_disk_errors(folder, resumes=False):
        (folder / FILES / name).write_bytes(thumbnail.jpeg)
    return f"{FILES}/{name}"


def _sheet_text(item: GalleryItem) -> _SheetText:
    """Returns the text below a picture of the contact sheet; references are marked as such."""
    boxes = tuple(item.boxes)
    missing = "no picture" if item.image is None else "picture cannot be read"
    if item.captions:
        return _SheetText(item.captions[0].text, False, boxes, missing)
    if item.references:
        count = len(item.references)
        which = f"reference 1 of {count}" if count > 1 else "reference"
        return _SheetText(f"{which}: {item.references[0]}", True, boxes, missing)
    words = ", ".join(dict.fromkeys(word for word, _ in item.concepts))
    return _SheetText(words or item.image_id, True, boxes, missing)


def _tiles(folder: Path, rows: list[dict[str, Any]], texts: list[_SheetText]) -> list[Tile]:
    tiles = []
    for place in sorted(spread(len(rows), _SHEET_MOST)):
        url, text = rows[place].get("picture"), texts[place]
        picture = None if url is None else square(read_picture(folder, url), text.boxes)
        tiles.append(Tile(picture, text.text, text.soft, text.missing))
    return tiles
