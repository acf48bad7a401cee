"""Reader of the declared format and size of an encoded image, inside a TensorFlow graph.

`tfrecords.pictures.headers` and `tfrecords.pictures.image_formats` read the same in Python; tests
compare both implementations.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrecords.pictures.byte_tensors import bytes_at, number_of_four, number_of_two, starts_with
from tfrecords.pictures.headers import ORDINARY_SCANS

_HEAD = 40  # bytes that contain the size, except in JPEG and GIF
_LARGE_BMP_HEADERS = (40, 52, 56, 64, 108, 124)
_ANIMATED = 0x02  # a flag of the VP8X chunk


class Declared(NamedTuple):
    """Format and size in the header of an encoded image, as tensors.

    Attributes:
        decodable: bool scalar, whether it is a JPEG, PNG, GIF, BMP of 24 bits or still WebP.
        height: int64 scalar, pixels before rotation; 0 if the header is damaged.
        width: int64 scalar.
        pixels: int64 scalar, pixels to decode; see `tfrecords.pictures.headers.ImageHeader`.
    """

    decodable: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    pixels: tf.Tensor


def declared_pixels(encoded: tf.Tensor) -> Declared:
    """Reads the header of an image; works in a graph.

    Args:
        encoded: string scalar.

    Raises:
        tf.errors.InvalidArgumentError: the image begins as a JPEG but declares no size.
    """
    head = bytes_at(encoded, 0, _HEAD)
    is_webp = starts_with(head, b"RIFF") & starts_with(head[8:], b"WEBP")
    is_still = ~(starts_with(head[12:], b"VP8X") & (head[20] // _ANIMATED % 2 == 1))
    is_gif = starts_with(head, b"GIF87a") | starts_with(head, b"GIF89a")
    found = tf.case(
        [
            (starts_with(head, b"\xff\xd8\xff"), lambda: _jpeg(encoded)),
            (starts_with(head, b"\x89PNG\r\n\x1a\n"), lambda: _png(head)),
            (is_gif, lambda: _gif(encoded, head)),
            (_is_bmp(head), lambda: _bmp(head)),
            (is_webp & is_still, lambda: _webp(head)),
        ],
        default=lambda: tf.constant([0, 0, 0, 0], tf.int64),
    )
    return Declared(found[0] > 0, found[1], found[2], found[3])


def _declared(height: tf.Tensor, width: tf.Tensor, pixels: tf.Tensor | None = None) -> tf.Tensor:
    """Returns int64 [4]: 1, height, width, pixels."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    pixels = height * width if pixels is None else pixels
    return tf.stack([tf.constant(1, tf.int64), height, width, pixels])


def _jpeg(encoded: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)[:2])
    # Scans of an embedded thumbnail are counted too; it has one or two.
    data = tf.io.decode_raw(encoded, tf.uint8)
    starts = (data[:-1] == 0xFF) & (data[1:] == 0xDA)
    scans = tf.reduce_sum(tf.cast(starts, tf.int64))
    times = tf.maximum(tf.constant(1, tf.int64), scans // ORDINARY_SCANS)
    return _declared(height, width, height * width * times)


def _png(head: tf.Tensor) -> tf.Tensor:
    # Unsigned.
    width, height = (
        tf.cast(number_of_four(head[place : place + 4], False), tf.int64) & 0xFFFFFFFF
        for place in (16, 20)
    )
    return _declared(height, width)


def _is_bmp(head: tf.Tensor) -> tf.Tensor:
    # See `formats.sniff_format`: TensorFlow reads neither palettes nor other bit depths.
    size = number_of_four(head[14:18], True)
    known = tf.reduce_any(size == tf.constant(_LARGE_BMP_HEADERS))
    bits, compression = number_of_two(head[28:30], True), number_of_four(head[30:34], True)
    return starts_with(head, b"BM") & known & (bits == 24) & (compression == 0)


def _bmp(head: tf.Tensor) -> tf.Tensor:
    # A negative height marks rows from top to bottom.
    width, height = (
        tf.abs(tf.cast(number_of_four(head[place : place + 4], True), tf.int64))
        for place in (18, 22)
    )
    return _declared(height, width)


def _webp(head: tf.Tensor) -> tf.Tensor:
    kind = head[12:16]
    bits = number_of_four(head[21:25], True)
    # Shifts, because a division rounds negative numbers.
    right = tf.bitwise.right_shift
    lossless = (right(bits, 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    lossy = tuple(number_of_two(head[at : at + 2], True) & 0x3FFF for at in (28, 26))
    extended = tuple(head[at] + 256 * head[at + 1] + 65536 * head[at + 2] + 1 for at in (27, 24))
    return tf.case(
        [
            (starts_with(kind, b"VP8 "), lambda: _declared(*lossy)),
            (starts_with(kind, b"VP8L"), lambda: _declared(*lossless)),
            (starts_with(kind, b"VP8X"), lambda: _declared(*extended)),
        ],
        default=lambda: _declared(tf.constant(0), tf.constant(0)),
    )


def _gif(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Sums the pixels of all frames, because the decoder reads them all to return the first."""
    width, height = (number_of_two(head[place : place + 2], True) for place in (6, 8))
    size = tf.strings.length(encoded)

    def body(
        position: tf.Tensor, inside: tf.Tensor, pixels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # A block has parts, each with a length and that many bytes; the length 0 ends the block.
        block = bytes_at(encoded, position, 10)
        is_frame = ~inside & (block[0] == 0x2C) & (position + 10 <= size)
        is_extension = ~inside & (block[0] == 0x21)
        frame = number_of_two(block[5:7], True), number_of_two(block[7:9], True)
        area = tf.cast(frame[0], tf.int64) * tf.cast(frame[1], tf.int64)
        after = tf.where(
            inside,
            position + 1 + block[0],
            tf.where(is_extension, position + 2, position + 11 + _color_table(block[9])),
        )
        after = tf.where(inside | is_frame | is_extension, after, size)
        still_inside = tf.where(inside, block[0] != 0, is_frame | is_extension)
        return after, still_inside, pixels + tf.where(is_frame, area, tf.zeros_like(area))

    _, _, frames = tf.while_loop(
        lambda position, inside, pixels: position < size,
        body,
        (13 + _color_table(head[10]), tf.constant(False), tf.constant(0, tf.int64)),
    )
    canvas = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    return _declared(height, width, tf.maximum(canvas, frames))


def _color_table(packed: tf.Tensor) -> tf.Tensor:
    """Returns the number of bytes of the color table that a packed field declares."""
    entries = tf.bitwise.left_shift(tf.constant(1), packed % 8 + 1)
    return tf.where(packed >= 0x80, 3 * entries, 0)
