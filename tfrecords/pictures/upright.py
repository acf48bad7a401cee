"""Rotation of pictures by their EXIF orientation, inside a TensorFlow graph.

`tfrecords.pictures.orientation` reads the same tag from bytes in Python; a test compares both. This
module works on string tensors, so that `tf.data` pipelines and exported models decode a photograph
exactly as the builders do.
"""

from __future__ import annotations

import tensorflow as tf

from tfrecords.pictures.byte_tensors import bytes_at, number_of_four, number_of_two, starts_with
from tfrecords.pictures.orientation import MAX_SEGMENTS, ORIENTATION_TAG

_HEAD = 16  # bytes that identify a container, or a segment with the EXIF prefix


def decode_upright(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a picture and rotates it upright; works in a graph.

    Args:
        encoded: string scalar, a JPEG, PNG, GIF (its first frame), BMP or WebP.

    Returns:
        uint8 [H, W, 3]. Gray, CMYK, palette and 16-bit images become RGB; transparency is dropped.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not a complete picture.
    """
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return turn_upright(pixels, orientation_of(encoded))


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """Rotates or mirrors a stored picture to its upright orientation.

    Args:
        pixels: [H, W, C].
        orientation: int scalar, 1 to 8.

    Returns:
        [H, W, C], or [W, H, C] for the orientations 5 to 8.
    """

    def turned() -> tf.Tensor:
        sides = tf.cond(_among(orientation, 5, 6, 7, 8), lambda: [1, 0, 2], lambda: [0, 1, 2])
        found = tf.transpose(pixels, sides)
        found = tf.cond(
            _among(orientation, 2, 3, 6, 7), lambda: tf.reverse(found, [1]), lambda: found
        )
        return tf.cond(
            _among(orientation, 3, 4, 7, 8), lambda: tf.reverse(found, [0]), lambda: found
        )

    return tf.cond(tf.equal(orientation, 1), lambda: tf.identity(pixels), turned)


def orientation_of(encoded: tf.Tensor) -> tf.Tensor:
    """Reads the EXIF orientation of a JPEG, PNG or WebP; works in a graph.

    Args:
        encoded: string scalar, the file.

    Returns:
        int32 scalar, 1 to 8; 1 if the file has no orientation, an invalid one, or damaged EXIF
        data.
    """
    head = bytes_at(encoded, 0, _HEAD)
    is_jpeg = starts_with(head, b"\xff\xd8")
    is_png = starts_with(head, b"\x89PNG\r\n\x1a\n")
    is_webp = starts_with(head, b"RIFF") & starts_with(head[8:], b"WEBP")
    start = tf.case(
        [
            (is_jpeg, lambda: _in_jpeg(encoded)),
            (is_png, lambda: _in_chunks(encoded, 8, b"eXIf", padded=False)),
            (is_webp, lambda: _in_chunks(encoded, 12, b"EXIF", padded=True)),
        ],
        default=lambda: tf.constant(-1),
    )
    return tf.cond(start < 0, lambda: tf.constant(1), lambda: _tag(encoded, start))


def _in_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    def body(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        segment = bytes_at(encoded, position, _HEAD)
        is_segment = (segment[0] == 0xFF) & (segment[1] != 0xDA) & (position >= 0)
        is_exif = is_segment & (segment[1] == 0xE1) & starts_with(segment[4:], b"Exif\0\0")
        after = tf.where(is_segment, position + 2 + segment[2] * 256 + segment[3], -1)
        return tf.where(is_exif, -1, after), tf.where(is_exif, position + 10, found)

    return _search(encoded, 2, body)


def _in_chunks(encoded: tf.Tensor, first: int, wanted: bytes, *, padded: bool) -> tf.Tensor:
    """Searches RIFF (`padded`: name first, even sizes) or PNG chunks (length first)."""

    def body(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chunk = bytes_at(encoded, position, _HEAD)
        name, size = (chunk[:4], chunk[4:8]) if padded else (chunk[4:8], chunk[:4])
        length = number_of_four(size, little=tf.constant(padded))
        is_exif = starts_with(name, wanted)
        start = position + 8 + tf.where(starts_with(chunk[8:], b"Exif\0\0"), 6, 0)
        after = position + 8 + length + (length % 2 if padded else 4)
        # A length that exceeds the file, or 31 bits, ends the search.
        after = tf.where((length < 0) | (after < position), -1, after)
        return tf.where(is_exif, -1, after), tf.where(is_exif, start, found)

    return _search(encoded, first, body)


def _search(encoded: tf.Tensor, first: int, body: object) -> tf.Tensor:
    """Iterates over segments; returns the start of the EXIF data, or -1."""
    size = tf.strings.length(encoded)
    _, found = tf.while_loop(
        lambda position, found: (position >= 0) & (position < size) & (found < 0),
        body,
        (tf.constant(first), tf.constant(-1)),
        maximum_iterations=MAX_SEGMENTS,
    )
    return found


def _tag(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Reads the orientation in the first directory of the TIFF data at `start`."""
    head = bytes_at(encoded, start, 8)
    little = starts_with(head, b"II*\0")
    offset = number_of_four(head[4:], little)
    outside = (offset < 0) | (start + offset < start)  # overflows of 31 bits
    place = tf.where(outside, tf.strings.length(encoded), start + offset)
    count = number_of_two(bytes_at(encoded, place, 2), little)
    entries = tf.reshape(bytes_at(encoded, place + 2, 12 * count), [-1, 12])
    tags, values = number_of_two(entries[:, :2], little), number_of_two(entries[:, 8:10], little)
    # Entries that the end of the file truncates are ignored.
    whole = place + 2 + 12 * tf.range(1, count + 1) - 2 <= tf.strings.length(encoded)
    found = tf.concat([tf.boolean_mask(values, (tags == ORIENTATION_TAG) & whole), [1]], 0)[0]
    known = (little | starts_with(head, b"MM\0*")) & (found >= 1) & (found <= 8)
    return tf.where(known, found, 1)


def _among(orientation: tf.Tensor | int, *values: int) -> tf.Tensor:
    return tf.reduce_any(tf.equal(orientation, tf.constant(values)))
