"""EXIF orientation: the rotation of a stored picture to its upright position.

Cameras store the rows of the sensor unchanged and record the orientation of the camera in the EXIF
tag 0x0112. Every reader of this project rotates pictures upright; boxes, heights and widths refer
to the upright picture. `tfrecords.pictures.upright` does the same inside a TensorFlow graph.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

UPRIGHT = 1
"""The orientation of a picture that needs no rotation."""

RECORDED: dict[str, str] = {"orientation": "upright"}
"""Manifest options of records whose pictures were rotated upright before they were used.

Records without this option were built before orientation was supported.
"""


ORIENTATION_TAG = 0x0112
MAX_SEGMENTS = 64
"""Maximum number of JPEG segments, PNG chunks or RIFF chunks searched for EXIF data."""

_TRANSPOSED = (5, 6, 7, 8)


def is_upright(manifest: Mapping[str, Any]) -> bool:
    """Returns whether the pictures of records were rotated upright before they were used."""
    return RECORDED.items() <= manifest["options"].items()


def predates_orientation(manifest: Mapping[str, Any]) -> bool:
    """Returns whether records contain unrotated pictures, or features of unrotated pictures."""
    reads_pictures = "image" in manifest["features"] or bool(manifest["options"].get("backbone"))
    return reads_pictures and not is_upright(manifest)


def read_orientation(data: bytes) -> int:
    """Returns the EXIF orientation of a JPEG, PNG or WebP, 1 to 8.

    Args:
        data: the encoded picture.

    Returns:
        1 (upright) if the file has no orientation, an invalid one, or damaged EXIF data.
    """
    start = _exif_start(data)
    if start is None:
        return UPRIGHT
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[start : start + 4])
    if order is None:
        return UPRIGHT
    try:
        (offset,) = struct.unpack_from(f"{order}I", data, start + 4)
        (count,) = struct.unpack_from(f"{order}H", data, start + offset)
        for entry in range(start + offset + 2, start + offset + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, entry)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Returns whether the rotation to upright exchanges height and width."""
    return orientation in _TRANSPOSED


def upright_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Converts boxes from the frame of the stored picture to the upright frame.

    Args:
        boxes: float [N, 4], ymin, xmin, ymax, xmax in 0..1 of the stored picture.
        orientation: orientation of the picture, 1 to 8.

    Returns:
        float [N, 4], in the same order of corners.
    """
    top, left, bottom, right = np.asarray(boxes).reshape(-1, 4).T
    if swaps_sides(orientation):
        top, left, bottom, right = left, top, right, bottom
    if orientation in (2, 3, 6, 7):
        left, right = 1 - right, 1 - left
    if orientation in (3, 4, 7, 8):
        top, bottom = 1 - bottom, 1 - top
    return np.stack([top, left, bottom, right], axis=1)


def boxes_as_shown(
    boxes: np.ndarray, orientation: int, detector_size: tuple[int, int], stored: tuple[int, int]
) -> np.ndarray:
    """Converts boxes to the upright frame if a detector processed the unrotated picture.

    A detector that ignores EXIF is recognized by its size of the picture.

    Args:
        boxes: float [N, 4], ymin, xmin, ymax, xmax in 0..1.
        orientation: orientation of the picture, 1 to 8.
        detector_size: height and width of the picture according to the detector.
        stored: height and width of the picture before rotation.
    """
    if detector_size == stored and stored[0] != stored[1] and swaps_sides(orientation):
        return upright_boxes(boxes, orientation)
    return boxes


def _exif_start(data: bytes) -> int | None:
    """Returns the start of the TIFF header of the EXIF data; None without EXIF data."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _in_jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _in_chunks(data, 8, ">", b"eXIf", padded=False)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _in_chunks(data, 12, "<", b"EXIF", padded=True)
    except struct.error:  # the file ends before EXIF data
        pass
    return None


def _in_jpeg(data: bytes) -> int | None:
    position = 2
    for _ in range(MAX_SEGMENTS):
        mark, kind, length = struct.unpack_from(">BBH", data, position)
        if mark != 0xFF or kind == 0xDA:  # no segment, or the start of the scan
            return None
        if kind == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            return position + 10
        position += 2 + length
    return None


def _in_chunks(
    data: bytes, position: int, order: str, wanted: bytes, *, padded: bool
) -> int | None:
    """Searches RIFF (`padded`: name first, even sizes) or PNG chunks (length first)."""
    for _ in range(MAX_SEGMENTS):
        one, other = struct.unpack_from("4s4s", data, position)
        name, size = (one, other) if padded else (other, one)
        (length,) = struct.unpack(f"{order}I", size)
        if name == wanted:
            start = position + 8
            # Some writers put the JPEG prefix before the TIFF header.
            return start + 6 if data[start : start + 6] == b"Exif\0\0" else start
        position += 8 + length + (length % 2 if padded else 4)
    return None
