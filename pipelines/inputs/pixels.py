"""Pixels for a network inside the model: images resized to a square and cropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import tensorflow as tf

from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ImageBatch, ModelInput, register_input
from tfrecords.pictures.decoding import resize
from tfrecords.pictures.feature_options import Interpolation, image_size_of, interpolation_of
from tfrecords.pictures.upright import decode_upright


@register_input("pixels")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels(ModelInput):
    """Decoded images, resized to a square and cropped.

    Returns `pixels` float32[B, crop, crop, 3] in 0..255.

    Attributes:
        resize: side of the square, pixels.
        crop: side of the random crop in training and of the center crop elsewhere, pixels.
        antialias: whether to filter before downscaling, as for stored features.
        interpolation: interpolation of the network in the model, see `BackboneOptions`.
        mirror: whether training mirrors images left to right with probability 1/2.
        least_area: smallest fraction of the square's area that a random crop covers. Below 1, crops
            have random sizes and aspect ratios of 3:4 to 4:3, and are squashed to `crop`.
    """

    columns = ("image",)
    tensors = ("pixels",)
    section = "image"

    resize: int
    crop: int
    antialias: bool = True
    interpolation: Interpolation = "bilinear"
    mirror: bool = False
    least_area: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for crops larger than the image, or without area."""
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"crop ({self.crop}) must be at least 1 and at most resize")
        if not 0 < self.least_area <= 1:
            raise ValueError(f"least_area ({self.least_area}) must be above 0 and at most 1")

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns pixels with the settings of `config.image`."""
        image = config.image
        crop = crop_size(image)
        return [
            cls(
                resize=image.resize or crop,
                crop=crop,
                interpolation=interpolation_of(image.backbone),
                mirror=image.mirror,
                least_area=image.least_area,
            )
        ]

    def assemble(self, rows: Rows) -> Batch:
        """Returns the image files and, in training, the seeds of their crops."""
        batch = {"image": rows["image"]}
        if "key" in rows:
            batch["crop_seed"] = crop_seeds(rows["key"], rows["image"])
        return batch

    def finish(self, batch: Batch) -> Batch:
        """Decodes and crops images; see `ModelInput`."""
        batch = dict(batch)
        encoded, seeds = batch.pop("image"), batch.pop("crop_seed", None)
        return {**batch, "pixels": crops(encoded, self, seeds)}

    def from_images(self, images: ImageBatch) -> Batch:
        """Crops decoded images; see `ModelInput`."""
        squashed = images.squashed(self.resize, self.interpolation)
        return {"pixels": tf.image.resize_with_crop_or_pad(squashed, self.crop, self.crop)}

    def evaluated(self) -> ModelInput:
        """Returns these pixels without random mirroring and sizes."""
        return dataclasses.replace(self, mirror=False, least_area=1.0)

    def advice(self, record_kind: str, available: Collection[str]) -> str:
        """Returns how to build records with pictures."""
        if record_kind == "images":
            features = any(name.endswith("_feature") for name in available)
            return "build them with --images=FOLDER and --store_pixels" + (
                ", or train with image.source=features" if features else ""
            )
        return "build them with --images and without --nostore_pixels"


def crop_size(image: Any) -> int:
    """Returns the side of the crops in pixels, of section `config.image` of a captioner."""
    return image.crop or image_size_of(image.backbone)


def crop_seeds(key: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns a stateless seed per image of a batch, int64[B, 2].

    Args:
        key: int64[2], stateless seed of the batch.
        images: string[B].
    """
    numbers = tf.range(tf.size(images, tf.int64))
    return tf.stack([tf.fill(tf.shape(numbers), key[0]), key[1] + numbers], axis=1)


def crops(encoded: tf.Tensor, options: Pixels, seeds: tf.Tensor | None) -> tf.Tensor:
    """Decodes images and crops a square from each.

    Args:
        encoded: image files string[B].
        options: sizes.
        seeds: seeds of random crops and mirroring, from `crop_seeds`; None for center crops.

    Returns:
        float32[B, crop, crop, 3] in 0..255.
    """

    def one(arguments: tuple[tf.Tensor, ...]) -> tf.Tensor:
        image = decode_upright(arguments[0])
        image = _resize(image, options.resize, options)
        if seeds is None:
            return tf.image.resize_with_crop_or_pad(image, options.crop, options.crop)
        image = _random_crop(image, options, arguments[1])
        if options.mirror:
            # Another seed than that of the crop, so that both are independent.
            image = tf.image.stateless_random_flip_left_right(image, arguments[1] + [1, 0])
        return image

    arguments = (encoded,) if seeds is None else (encoded, seeds)
    return tf.map_fn(one, arguments, fn_output_signature=tf.float32, parallel_iterations=16)


def _random_crop(image: tf.Tensor, options: Pixels, seed: tf.Tensor) -> tf.Tensor:
    """Returns a crop float32[crop, crop, 3] of an image float32[resize, resize, 3]."""
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
    image = _resize(tf.slice(image, start, extent), options.crop, options)
    return tf.ensure_shape(image, [*size, 3])


def _resize(image: tf.Tensor, side: int, options: Pixels) -> tf.Tensor:
    return resize(image, side, side, options.interpolation, antialias=options.antialias)
