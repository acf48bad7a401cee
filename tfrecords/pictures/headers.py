"""Reader of the declared size and orientation of an image, before decoding.

A file of a few kilobytes may declare billions of pixels, and decoders allocate memory for them. The
headers of the five formats that TensorFlow decodes are simple, so this module parses them directly.
Image libraries reject some files that TensorFlow reads, and fail on data before the size. Pillow
decodes a whole PNG to find its orientation, and counts neither the scans of a JPEG nor the pixels
of the frames of a GIF.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tfrecords.core.errors import InputError
from tfrecords.pictures.orientation import UPRIGHT, read_orientation, swaps_sides

# Default limit for the pixels of one image.
MAX_PIXELS = 100_000_000

# Progressive files of cameras and websites have at most a dozen scans.
ORDINARY_SCANS = 20
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_WITHOUT_SEGMENT = {0x01, 0xD8}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# All variants of start of frame; C4, C8 and CC are other markers.
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class TooLargeError(InputError):
    """An image declares more pixels than allowed."""


class ImageHeader(NamedTuple):
    """Size and orientation in the header of an encoded image.

    Attributes:
        height: pixels, of the upright image.
        width: pixels, of the upright image.
        pixels: number of pixels to decode: the sum over all frames of an animation, and a multiple
            for a JPEG with very many scans (each scan covers the whole image).
        orientation: EXIF orientation of the stored picture, 1 to 8; 1 is upright.
    """

    height: int
    width: int
    pixels: int
    orientation: int = UPRIGHT

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width before the rotation to the upright orientation."""
        size = self.height, self.width
        return size[::-1] if swaps_sides(self.orientation) else size


def read_header(data: bytes) -> ImageHeader:
    """Reads the header of a JPEG, PNG, GIF, BMP or WebP.

    Args:
        data: the whole file; in GIF and JPEG the decoding cost depends on all of it.

    Raises:
        InputError: the file has none of these formats, or ends before its size.
    """
    try:
        header = _read(data)
    except (IndexError, struct.error):
        header = None
    if header is None:
        raise InputError(
            f"not a complete JPEG, PNG, GIF, BMP or WebP file: it begins with {data[:12]!r}"
        )
    orientation = read_orientation(data)
    if swaps_sides(orientation):
        header = header._replace(height=header.width, width=header.height)
    return header._replace(orientation=orientation)


def check_size(header: ImageHeader, max_pixels: int) -> None:
    """Checks the number of pixels to decode.

    Raises:
        TooLargeError: the image has more than `max_pixels` pixels.
    """
    if header.pixels > max_pixels:
        raise TooLargeError(
            f"{header.width} x {header.height} pixels ({header.pixels / 1e6:.1f} megapixels to "
            f"decode), more than the {max_pixels / 1e6:g} megapixels allowed"
        )


def _read(data: bytes) -> ImageHeader | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _frame(*struct.unpack_from(">II", data, 16))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", data, 6)
        return ImageHeader(height, width, max(height * width, sum(_gif_frames(data))))
    if data.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", data, 18)
        return _frame(abs(width), abs(height))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _frame(width: int, height: int) -> ImageHeader:
    return ImageHeader(height, width, height * width)


def _jpeg(data: bytes) -> ImageHeader | None:
    position, scans, size = 2, 0, None
    while match := _JPEG_MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == _END_OF_IMAGE:
            break
        if marker in _WITHOUT_SEGMENT:
            continue
        if marker == _START_OF_SCAN:
            scans += 1
        elif marker in _START_OF_FRAME and size is None:
            size = struct.unpack_from(">HH", data, position + 3)
        if position + 2 > len(data):
            break
        position += struct.unpack_from(">H", data, position)[0]
    if size is None:
        return None
    height, width = size
    return ImageHeader(height, width, height * width * max(1, scans // ORDINARY_SCANS))


def _gif_frames(data: bytes) -> Iterator[int]:
    """Yields the pixels of each frame; stops at the end of the file."""
    position = 13 + _color_table(data[10])
    while position < len(data):
        block = data[position]
        if block == 0x21:  # an extension: a label, then parts
            position = _after_parts(data, position + 2)
        elif block == 0x2C and position + 10 <= len(data):
            width, height, packed = struct.unpack_from("<HHB", data, position + 5)
            yield width * height
            position = _after_parts(data, position + 11 + _color_table(packed))
        else:
            return


def _color_table(packed: int) -> int:
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _after_parts(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _webp(data: bytes) -> ImageHeader | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return _frame(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return _frame((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return _frame(width, height) if len(data) >= 30 else None
    return None
