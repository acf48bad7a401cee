"""Pictures of pages: read, turned upright, reduced, as JPEG in a file or in the page itself."""

from __future__ import annotations

import base64
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords.core.shards import Skip
from tfrecords.pictures.image_files import read_file
from tfrecords.pictures.image_formats import reduce_to_8_bits

PAGE_EDGE = 400
"""Pixels of the longer edge of a picture on a page."""

_QUALITY = 80
_PAPER = (255, 255, 255)
_AHEAD = 8  # pictures per thread that are prepared in advance

_Item = TypeVar("_Item")


class Thumbnail(NamedTuple):
    """A reduced picture.

    Attributes:
        jpeg: bytes of a JPEG file.
        width: width in pixels.
        height: height in pixels.
    """

    jpeg: bytes
    width: int
    height: int

    @property
    def url(self) -> str:
        """Data URL of the picture."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


def make_thumbnail(source: bytes | Path | None, edge: int = PAGE_EDGE) -> Thumbnail | None:
    """Reads a picture like `open_picture` and encodes it; returns None if there is none to read."""
    picture = None if source is None else open_picture(source, edge)
    return None if picture is None else encode_thumbnail(picture)


def encode_thumbnail(picture: Image.Image) -> Thumbnail:
    """Encodes an RGB picture."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(stream.getvalue(), picture.width, picture.height)


def make_thumbnails(
    items: Iterable[_Item],
    source: Callable[[_Item], bytes | Path | None],
    edge: Callable[[_Item], int],
) -> Iterator[tuple[_Item, Thumbnail | None]]:
    """Makes thumbnails of many items on all cores; few are in memory at once.

    Args:
        items: items, read when their thumbnails are needed.
        source: source of the picture of an item.
        edge: pixels of the longer edge.

    Yields:
        Each item with its thumbnail, in order.
    """
    threads = os.cpu_count() or 1
    waiting: deque[tuple[_Item, Future[Thumbnail | None]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(make_thumbnail, source(item), edge(item))))
                if len(waiting) > threads * _AHEAD:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:  # the caller may have stopped
            pool.shutdown(cancel_futures=True)


def open_picture(source: bytes | Path, edge: int) -> Image.Image | None:
    """Returns a picture, upright and in RGB; None if it cannot be read.

    Args:
        source: bytes of a picture, or path of an image file.
        edge: maximum length of its longer edge in pixels.
    """
    data = source if isinstance(source, bytes) else read_file(source, source.name)
    if isinstance(data, Skip):
        return None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft(None, (edge, edge))  # decodes a JPEG at approximately the requested size
            upright = reduce_to_8_bits(ImageOps.exif_transpose(opened))
            if upright.mode in ("RGBA", "LA", "P", "PA"):
                layer = upright.convert("RGBA")
                upright = Image.new("RGBA", layer.size, (*_PAPER, 255))
                upright.alpha_composite(layer)
            picture = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    picture.thumbnail((edge, edge), reducing_gap=3.0)
    return picture


def read_picture(folder: Path, url: str) -> Image.Image:
    """Reads a picture of a page in a folder by its URL in the page."""
    prefix, _, encoded = url.partition(";base64,")
    data = base64.b64decode(encoded) if encoded else (folder / prefix).read_bytes()
    return Image.open(io.BytesIO(data)).convert("RGB")
