"""Pixels for a network inside the model: images squashed to a square and cropped."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfrecords.features.upright import decode_upright


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelOptions:
    """What becomes of an image.

    Attributes:
        resize: side the image is squashed to before cropping, pixels.
        crop: side of the random crop in training and of the centre crop elsewhere.
        antialias: averages what a smaller image has no room for, as stored features are made.
        mirror: shows every other image in training, drawn at random, from left to right.
        least_area: part of the image that a random crop has at least, below 1: crops are then of
            many sizes and of 3:4 to 4:3, and squashed to `crop`. 1 cuts `crop` out as it is.
    """

    resize: int
    crop: int
    antialias: bool
    mirror: bool = False
    least_area: float = 1.0

    def __post_init__(self) -> None:
        """Refuses crops larger than the image, or of no area."""
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"crop ({self.crop}) must be at least 1 and at most resize")
        if not 0 < self.least_area <= 1:
            raise ValueError(f"least_area ({self.least_area}) must be above 0 and at most 1")


def crop_seeds(key: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """A stateless seed for each image of a batch, int64[B, 2].

    Args:
        key: int64[2], of the batch.
        images: string[B].
    """
    numbers = tf.range(tf.size(images, tf.int64))
    return tf.stack([tf.fill(tf.shape(numbers), key[0]), key[1] + numbers], axis=1)


def crops(encoded: tf.Tensor, options: PixelOptions, seeds: tf.Tensor | None) -> tf.Tensor:
    """Decodes images and cuts a square out of each.

    Args:
        encoded: image files string[B].
        options: sizes.
        seeds: of random crops and mirroring, as `crop_seeds` gives them; None cuts the centre out.

    Returns:
        float32[B, crop, crop, 3] in 0..255.
    """

    def one(arguments: tuple[tf.Tensor, ...]) -> tf.Tensor:
        image = decode_upright(arguments[0])
        size = [options.resize] * 2
        image = tf.image.resize(tf.cast(image, tf.float32), size, antialias=options.antialias)
        image = tf.clip_by_value(image, 0.0, 255.0)
        if seeds is None:
            return tf.image.resize_with_crop_or_pad(image, options.crop, options.crop)
        image = _random_crop(image, options, arguments[1])
        if options.mirror:
            # Next to the seed of the crop, or both would come of one number.
            image = tf.image.stateless_random_flip_left_right(image, arguments[1] + [1, 0])
        return image

    arguments = (encoded,) if seeds is None else (encoded, seeds)
    return tf.map_fn(one, arguments, fn_output_signature=tf.float32, parallel_iterations=16)


def _random_crop(image: tf.Tensor, options: PixelOptions, seed: tf.Tensor) -> tf.Tensor:
    """float32[crop, crop, 3] of an image float32[resize, resize, 3]."""
    size = [options.crop] * 2
    if options.least_area == 1:
        return tf.image.stateless_random_crop(image, [*size, 3], seed)
    start, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(options.least_area, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    image = tf.image.resize(tf.slice(image, start, extent), size, antialias=options.antialias)
    return tf.ensure_shape(image, [*size, 3])
