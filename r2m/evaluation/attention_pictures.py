"""Pictures of a captioner's attention per word: a sheet of panels, and an animation.

The first panel is the picture alone. One panel per word follows, with the word above it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

STYLES = ("grid", "smooth")

_EDGE = 224  # pixels of a panel's longer edge
_BANNER, _GAP, _COLUMNS = 26, 8, 6
_PAPER, _INK = (255, 255, 255), (24, 28, 34)
_FRAME_MS, _LAST_MS = 600, 1800
_START = "(picture)"


def attention_panels(
    picture: np.ndarray,
    words: Sequence[str],
    weights: np.ndarray,
    *,
    style: str = "smooth",
) -> list[Image.Image]:
    """Draws a picture, followed by its attention for each word.

    Brightness is relative to the cell with the largest weight for that word; otherwise uniform
    attention over 49 cells would be nearly black. The number after a word is the weight of that
    cell.

    Args:
        picture: uint8[H, W, 3].
        words: words of the caption.
        weights: float[len(words), gh, gw], each map summing to 1.
        style: `grid` draws cells as squares; `smooth` interpolates between them.

    Returns:
        Panels of equal size, one more than there are words.

    Raises:
        ValueError: the style is unknown, or the numbers of maps and words differ.
    """
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    if len(weights) != len(words):
        raise ValueError(f"{len(words)} words and {len(weights)} attention maps")
    image = Image.fromarray(picture)
    scale = _EDGE / max(image.size)
    image = image.resize([max(1, round(scale * edge)) for edge in image.size])
    panels = [_titled(image, _START)]
    for word, cells in zip(words, weights, strict=True):
        shown = attention_overlay(np.asarray(image), cells, style=style)
        panels.append(_titled(shown, f"{word} ({cells.max():.2f})"))
    return panels


def sheet(panels: Sequence[Image.Image], caption: str) -> Image.Image:
    """Returns panels in rows, with the caption below them."""
    width, height = panels[0].size
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (
        columns * (width + _GAP) + _GAP,
        rows * (height + _GAP) + _GAP + _BANNER,
    )
    found = Image.new("RGB", size, _PAPER)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        found.paste(panel, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    _write(found, (_GAP, size[1] - _BANNER), caption)
    return found


def png(image: Image.Image) -> bytes:
    """Returns the image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def animation(panels: Sequence[Image.Image]) -> bytes:
    """Returns the panels as frames of a looping GIF."""
    file = io.BytesIO()
    first, *others = panels
    first.save(
        file,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[_FRAME_MS] * len(others) + [_LAST_MS],
        loop=0,
    )
    return file.getvalue()


def attention_overlay(
    picture: np.ndarray, cells: np.ndarray, *, style: str = "smooth"
) -> Image.Image:
    """Returns a picture that is dark where attention is low.

    Args:
        picture: uint8[H, W, 3].
        cells: float[gh, gw], attention map of a word.
        style: see `attention_panels`.
    """
    cells = np.asarray(cells, np.float32)
    relative = cells / max(float(cells.max()), 1e-9)
    method = Image.Resampling.NEAREST if style == "grid" else Image.Resampling.BICUBIC
    height, width = picture.shape[:2]
    light = Image.fromarray(relative.astype(np.float32)).resize((width, height), method)
    light = np.clip(np.asarray(light), 0.0, 1.0)[..., None]
    # Cells without attention stay barely visible.
    shown = picture * (0.2 + 0.8 * light) + 40.0 * light * np.array([1.0, 0.85, 0.3])
    return Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))


def _titled(image: Image.Image, title: str) -> Image.Image:
    found = Image.new("RGB", (image.width, image.height + _BANNER), _PAPER)
    found.paste(image, (0, _BANNER))
    _write(found, (4, 0), title)
    return found


def _write(image: Image.Image, place: tuple[int, int], text: str) -> None:
    font = ImageFont.load_default(16)
    ImageDraw.Draw(image).text((place[0], place[1] + 3), text, fill=_INK, font=font)
