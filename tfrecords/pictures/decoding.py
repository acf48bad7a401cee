"""Decoding of image files to the input pixels of a network.

Everything except the header reader also works in a graph. Builders, captioning of files, training
on pixels and exported models share this code, so that each feeds a network the same numbers.
"""

from __future__ import annotations

import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.core.tensorflow_messages import plain_message
from tfrecords.pictures.feature_options import Interpolation, ViewOptions
from tfrecords.pictures.headers import MAX_PIXELS, ImageHeader, check_size, read_header
from tfrecords.pictures.orientation import UPRIGHT
from tfrecords.pictures.upright import turn_upright
from tfrecords.pictures.views import cut_view, random_views


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, GIF (its first frame) or WebP and turns it upright.

    Gray, CMYK, palette and 16-bit images become RGB; transparency is dropped.

    Args:
        data: the encoded image; other formats must be converted by
            `tfrecords.pictures.image_files`.
        max_pixels: limit for the declared pixels.

    Returns:
        uint8 [H, W, 3], rotated by the EXIF orientation.

    Raises:
        InputError: the bytes are not a complete image, or the image has too many pixels.
    """
    header = read_header(data)
    check_size(header, max_pixels)
    try:
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        raise InputError(plain_message(str(error.message))) from error
    return pixels if header.orientation == UPRIGHT else turn_upright(pixels, header.orientation)


def resize_image(
    pixels: tf.Tensor, size: int, interpolation: Interpolation = "bilinear"
) -> tf.Tensor:
    """Resizes one image to the square input of a backbone: the whole image, without cropping.

    Args:
        pixels: uint8 [H, W, 3].
        size: side of the square in pixels.
        interpolation: see `BackboneOptions`; with anti-aliasing.

    Returns:
        float32 [size, size, 3] in 0..255. An image of that size is unchanged.
    """
    return resize(pixels, size, size, interpolation)


def cut_image(
    pixels: tf.Tensor,
    size: int,
    *,
    short_side: int,
    crops: int = 1,
    interpolation: Interpolation = "bilinear",
) -> tf.Tensor:
    """Resizes one image with its aspect ratio preserved and crops squares from it.

    This is the input of visual-semantic embeddings (Kiros et al. 2014, VSE++): the shorter side
    becomes `short_side`, the longer one is rounded down. Resizes with anti-aliasing.

    Args:
        pixels: uint8 [H, W, 3].
        size: side of the squares in pixels, at most `short_side`.
        short_side: pixels.
        crops: 1, the center; or 10: top left, top right, bottom left, bottom right and center, then
            the mirror images of these five.
        interpolation: see `BackboneOptions`.

    Returns:
        float32 [size, size, 3], or [10, size, size, 3], in 0..255.
    """
    rows, columns = tf.unstack(tf.shape(pixels)[:2])
    scaled = scaled_size(rows, columns, short_side)
    new_height, new_width = (tf.cast(side, tf.int32) for side in scaled)
    resized = resize(pixels, new_height, new_width, interpolation)
    bottom, right = new_height - size, new_width - size
    center = (new_height // 2 - size // 2, new_width // 2 - size // 2)
    corners = [] if crops == 1 else [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    places = (*corners, center)
    cut = [tf.ensure_shape(resized[y : y + size, x : x + size], [size, size, 3]) for y, x in places]
    if crops == 1:
        return cut[0]
    squares = tf.stack(cut)
    return tf.concat([squares, tf.reverse(squares, [2])], axis=0)


def scaled_size(
    height: tf.Tensor | int, width: tf.Tensor | int, short_side: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the size of an image after its shorter side becomes `short_side`: int64, int64."""
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    # In double precision and rounded down, as in PyTorch's transforms.
    factor = tf.constant(short_side, tf.float64) / tf.reduce_min(sides)
    scaled = tf.cast(factor * sides, tf.int64)
    scaled = tf.where(sides == tf.reduce_min(sides), tf.constant(short_side, tf.int64), scaled)
    return scaled[0], scaled[1]


def make_squares(
    pixels: tf.Tensor,
    size: int,
    *,
    short_side: int | None = None,
    crops: int = 1,
    interpolation: Interpolation = "bilinear",
) -> tf.Tensor:
    """Makes the square inputs of a network from an image; works in a graph.

    Args:
        pixels: uint8 [H, W, 3].
        size: side of a square, pixels.
        short_side: see `cut_image`; None squashes the image (`resize_image`).
        crops: see `cut_image`.
        interpolation: see `BackboneOptions`.

    Returns:
        float32 [size, size, 3], with 10 crops [10, size, size, 3], in 0..255.
    """
    if short_side is None:
        return resize_image(pixels, size, interpolation)
    return cut_image(pixels, size, short_side=short_side, crops=crops, interpolation=interpolation)


def resize(
    pixels: tf.Tensor,
    height: tf.Tensor | int,
    width: tf.Tensor | int,
    interpolation: Interpolation = "bilinear",
    *,
    antialias: bool = True,
) -> tf.Tensor:
    """Resizes an image [H, W, 3] to float32 [height, width, 3] in 0..255."""
    resized = tf.image.resize(
        tf.cast(pixels, tf.float32), (height, width), method=interpolation, antialias=antialias
    )
    return tf.clip_by_value(resized, 0.0, 255.0)


def decode_or_fault(
    data: bytes,
    size: int | None,
    *,
    short_side: int | None = None,
    crops: int = 1,
    max_pixels: int = MAX_PIXELS,
    interpolation: Interpolation = "bilinear",
    views: ViewOptions | None = None,
    name: str = "",
) -> tf.Tensor | str:
    """Decodes one image.

    Args:
        data: the encoded image.
        size: side of the square result; None only checks that the image can be read.
        short_side: see `cut_image`; None squashes the image (`resize_image`).
        crops: see `cut_image`.
        max_pixels: limit for the pixels of the image.
        interpolation: see `BackboneOptions`.
        views: random views to add; only with a size and one crop.
        name: name of the image, which determines the views.

    Returns:
        Its pixels (uint8 [H, W, 3] without a size, otherwise float32, see above; with views float32
        [1 + views, size, size, 3]), or a description of the fault.
    """
    try:
        pixels = decode_image(data, max_pixels)
        if size is None:
            return pixels
        if short_side is not None:
            # A narrow image may become huge.
            scaled = scaled_size(pixels.shape[0], pixels.shape[1], short_side)
            height, width = (int(side) for side in scaled)
            check_size(ImageHeader(height, width, height * width), max_pixels)
        found = make_squares(
            pixels, size, short_side=short_side, crops=crops, interpolation=interpolation
        )
        if views is None:
            return found
        drawn = random_views(views, name, *pixels.shape[:2], squashed=short_side is None)
        return tf.stack([found, *(cut_view(pixels, v, size, interpolation) for v in drawn)])
    except InputError as error:
        return str(error)
