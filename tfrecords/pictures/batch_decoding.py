"""Decoding of batches of images inside a TensorFlow graph, with a status per image.

A damaged image does not affect the others: its place in the batch contains gray pixels, and its
status describes the fault. The pixels of all other images are equal to those of
`tfrecords.pictures.decoding`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfrecords.pictures.declared_pixels import Declared, declared_pixels
from tfrecords.pictures.decoding import make_squares, scaled_size
from tfrecords.pictures.feature_options import Interpolation
from tfrecords.pictures.headers import MAX_PIXELS
from tfrecords.pictures.upright import decode_upright

OK = "ok"
"""Status of an image that was decoded. All others are `REASON: DETAIL`."""
EMPTY = "empty: the image has zero bytes"
UNSUPPORTED = (
    "unsupported_format: not a JPEG, PNG, GIF, BMP (24 bits per pixel) or WebP (not animated)"
)
UNREADABLE = "unreadable: the image is damaged or ends too soon"
# Gray, because some networks map black to zeros.
GRAY = 128.0


def decode_batch(
    encoded: tf.Tensor,
    size: int,
    *,
    short_side: int | None = None,
    crops: int = 1,
    interpolation: Interpolation = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes images and makes the square inputs of a network; works in a graph.

    Args:
        encoded: string [B], JPEG, PNG, GIF (the first frame), BMP of 24 bits or still WebP.
        size: see `make_squares`.
        short_side: see `make_squares`.
        crops: see `make_squares`.
        interpolation: see `BackboneOptions`.
        max_pixels: limit for the pixels of an image, see `tfrecords.pictures.headers`.

    Returns:
        float32 [B, size, size, 3], with 10 crops [B, 10, size, size, 3], in 0..255, gray if an
        image cannot be decoded; and string [B], `ok` or the fault: `empty`, `too_large`,
        `unreadable`, `unsupported_format`, a colon and details.
    """
    shape = [size, size, 3] if crops == 1 else [crops, size, size, 3]
    squares = functools.partial(
        make_squares, size=size, short_side=short_side, crops=crops, interpolation=interpolation
    )

    pixels, status = map_images(
        encoded,
        lambda image: [squares(image)],
        [tf.TensorSpec(shape, tf.float32)],
        [GRAY],
        max_pixels=max_pixels,
        short_side=short_side,
    )
    return pixels, status


def map_images(
    encoded: tf.Tensor,
    function: Callable[[tf.Tensor], list[tf.Tensor]],
    specs: Sequence[tf.TensorSpec],
    placeholders: Sequence[float],
    *,
    max_pixels: int = MAX_PIXELS,
    short_side: int | None = None,
    failed: str = UNREADABLE,
) -> list[tf.Tensor]:
    """Decodes images and applies a function to each of them; works in a graph.

    Args:
        encoded: string [B], see `decode_batch`.
        function: uint8 [H, W, 3] -> tensors.
        specs: specs of these tensors.
        placeholders: values that fill the tensors of images that cannot be decoded, or on which the
            function fails.
        max_pixels: see `decode_batch`.
        short_side: short side that the function scales images to; None if it does not scale.
        failed: status if decoding or the function fails.

    Returns:
        The tensors, B first, and the status string [B], see `decode_batch`.
    """
    placeholder_tensors = [
        tf.fill(spec.shape, tf.constant(number, spec.dtype))
        for spec, number in zip(specs, placeholders, strict=True)
    ]

    def shaped(tensors: Sequence[tf.Tensor], status: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pairs = zip(tensors, specs, strict=True)
        found = [tf.ensure_shape(tensor, spec.shape) for tensor, spec in pairs]
        return (*found, tf.ensure_shape(status, []))

    @tf.autograph.experimental.do_not_convert
    def decode(image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        status = _status(image, max_pixels, short_side)
        found = tf.cond(
            status == OK, lambda: list(function(decode_upright(image))), lambda: placeholder_tensors
        )
        return shaped(found, status)

    def one(image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # The only way to continue in a graph after an operation failed.
        decoded = tf.data.Dataset.from_tensors(image).map(decode).ignore_errors()
        fault = tf.data.Dataset.from_tensors((*placeholder_tensors, tf.constant(failed)))
        *found, status = decoded.concatenate(fault).take(1).get_single_element()
        return shaped(found, status)

    signature = (*specs, tf.TensorSpec([], tf.string))
    return list(tf.map_fn(one, encoded, fn_output_signature=signature, parallel_iterations=16))


def _status(image: tf.Tensor, max_pixels: int, short_side: int | None) -> tf.Tensor:
    """Returns the status of an image according to its header: string scalar."""

    def of_header() -> tf.Tensor:
        declared = declared_pixels(image)
        too_large = declared.pixels > max_pixels
        if short_side is not None:
            # A narrow image may become huge if its short side is scaled.
            sides = tf.maximum(declared.height, 1), tf.maximum(declared.width, 1)
            height, width = scaled_size(*sides, short_side)
            too_large |= height * width > max_pixels
        return tf.case(
            [
                (~declared.decodable, lambda: tf.constant(UNSUPPORTED)),
                (too_large, lambda: _too_large(declared, max_pixels)),
            ],
            default=lambda: tf.constant(OK),
        )

    is_empty = tf.strings.length(image) == 0
    return tf.cond(is_empty, lambda: tf.constant(EMPTY), of_header)


def _too_large(declared: Declared, max_pixels: int) -> tf.Tensor:
    size = [tf.strings.as_string(side) for side in (declared.width, declared.height)]
    limit = f" pixels, more than the {max_pixels / 1e6:g} megapixels allowed"
    return tf.strings.join(["too_large: ", size[0], " x ", size[1], limit])
