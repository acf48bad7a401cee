"""Picture formats: detection by content, and conversion of those TensorFlow cannot decode."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from tfrecords.core.errors import InputError
from tfrecords.pictures.headers import ImageHeader, TooLargeError, check_size

SNIFFED_BYTES = 160
"""Number of first bytes that `sniff_format` needs: DICOM's mark is at byte 128."""

_TENSORFLOW = ("JPEG", "PNG", "GIF", "BMP", "WebP")
# Name -> name in Pillow.
_PILLOW = {
    "BMP (not 24-bit)": "BMP",
    "animated WebP": "WEBP",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "HEIF": "HEIF",
    "JPEG 2000": "JPEG2000",
    "PNM": "PPM",
}
READ_FORMATS = (*_TENSORFLOW, "TIFF", "AVIF", "HEIF (extra [heif])", "JPEG 2000", "PNM")

_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_READ_SUFFIXES = (
    *_HEIF_SUFFIXES,
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_RAW_SUFFIXES = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".orf", ".rw2", ".raf")
_OTHER_SUFFIXES = (".jxl", ".psd", ".svg", ".dcm", *_RAW_SUFFIXES)
IMAGE_SUFFIXES = (*_READ_SUFFIXES, *_OTHER_SUFFIXES)
"""Suffixes of picture files, regardless of their content."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "Photoshop"),
)
_PNM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_SHORT_BMP_HEADER = 12  # its sizes have two bytes instead of four
_ANIMATED = 0x02  # a flag of the VP8X chunk


def has_image_suffix(name: str) -> bool:
    """Returns whether a file has the suffix of a picture."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def sniff_format(data: bytes, name: str = "") -> str | None:
    """Detects the format of a picture from its first bytes.

    Args:
        data: the file, or its first `SNIFFED_BYTES` bytes.
        name: name of the file: camera raw pictures are TIFF files with special suffixes.

    Returns:
        `JPEG`, `TIFF`, ..., `BMP (not 24-bit)` and `animated WebP` for variants that TensorFlow
        does not decode correctly; None if the file is not a picture of a known format.
    """
    for magic, found in _MAGIC:
        if data.startswith(magic):
            raw = found == "TIFF" and name.lower().endswith(_RAW_SUFFIXES)
            return "camera raw" if raw else found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        animated = data[12:16] == b"VP8X" and len(data) > 20 and data[20] & _ANIMATED
        return "animated WebP" if animated else "WebP"
    # Text may begin with BM or P1, and any video may contain `ftyp`.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return _bmp_format(data)
    if data[4:8] == b"ftyp":
        return _iso_format(data)
    if _PNM.match(data):
        return "PNM"
    return "DICOM" if data[128:132] == b"DICM" else None


def _bmp_format(data: bytes) -> str:
    # TensorFlow reads palette indices as gray values, and neither 1 nor 16 bits per pixel.
    short = data[14] == _SHORT_BMP_HEADER
    bits = int.from_bytes(data[28:30], "little")
    compression = int.from_bytes(data[30:34], "little")
    return "BMP" if not short and bits == 24 and compression == 0 else "BMP (not 24-bit)"


def _iso_format(data: bytes) -> str | None:
    brand, compatible = data[8:12], data[16 : max(16, min(data[3], SNIFFED_BYTES))]
    brands = {brand, *(compatible[i : i + 4] for i in range(0, len(compatible), 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
        return "HEIF"
    return "camera raw" if brand == b"crx " else None


def unsupported(found: str | None, name: str) -> str | None:
    """Returns the reason why a format is not supported; None if it is, or is not a picture format.

    Args:
        found: result of `sniff_format`.
        name: name of the file.
    """
    converted = f"{PurePosixPath(name).stem}.png"
    convert = f"convert it ({shlex.join(['magick', name, converted])})"
    if found == "HEIF" and not heif_plugin():
        return "HEIF pictures need the extra [heif]: pip install 'r2m[heif]'"
    if found is not None and found not in _TENSORFLOW and found not in _PILLOW:
        return f"{found} pictures are not supported: {convert}"
    if found is None and name.lower().endswith(_OTHER_SUFFIXES):
        suffix = PurePosixPath(name).suffix
        return f"{suffix} pictures are not supported: {convert}"
    return None


def decodable(data: bytes, found: str | None, max_pixels: int) -> bytes:
    """Returns a picture that TensorFlow decodes: unchanged, or its first frame as a PNG.

    Args:
        data: the encoded picture.
        found: result of `sniff_format`.
        max_pixels: limit for the declared pixels.

    Returns:
        The bytes unchanged if TensorFlow decodes them, otherwise a PNG: upright, RGB, 8 bits per
        channel, without transparency.

    Raises:
        TooLargeError: the picture has too many pixels.
        InputError: the bytes are not a complete picture.
    """
    if found not in _PILLOW:
        return data
    if found == "HEIF":
        heif_plugin()
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW[found]]) as image:
            width, height = image.size
            check_size(ImageHeader(height, width, height * width), max_pixels)
            return _upright_png(image, found)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(str(error)) from error
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"not a complete {found}: {error}") from error


def encode_png(image: Image.Image) -> bytes:
    """Encodes a picture in memory as a PNG, in the same way as `decodable`.

    Raises:
        InputError: the range of the pixel type is unknown.
        OSError: the file, which Pillow reads lazily, is damaged.
    """
    return _upright_png(image, image.format or image.mode)


def _upright_png(image: Image.Image, found: str) -> bytes:
    stream = io.BytesIO()
    _rgb(ImageOps.exif_transpose(image), found).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _rgb(image: Image.Image, found: str) -> Image.Image:
    # Mode I has 32-bit pixels of unknown range in TIFF and in memory, 16-bit pixels in PNM.
    if image.mode == "F" or (image.mode == "I" and found in ("TIFF", "I")):
        kind = "floating-point numbers" if image.mode == "F" else "32-bit or signed integers"
        raise InputError(f"its pixels are {kind}: convert it to 8 or 16 bits per channel")
    return reduce_to_8_bits(image).convert("RGB")


def reduce_to_8_bits(image: Image.Image) -> Image.Image:
    """Reduces a gray picture from 16 to 8 bits, as TensorFlow does; returns others unchanged.

    Pillow's own `convert` clips all values above 255 to white.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def recorded_plugins(names: Iterable[str]) -> dict[str, bool]:
    """Returns the manifest options for plug-ins that determine which images are readable.

    After the plug-in is installed, the same command is a different build.

    Args:
        names: names of the images.
    """
    heif = any(name.lower().endswith(_HEIF_SUFFIXES) for name in names)
    return {"heif": heif_plugin()} if heif else {}


@lru_cache(maxsize=1)
def heif_plugin() -> bool:
    """Registers Pillow's plug-in for HEIF and returns whether it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
