"""Inputs of captioners from image files: pixels, and features made as those of the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines.caption_batches import CaptionOptions, inputs
from pipelines.pixels import PixelOptions
from r2m.inference.captioner_inputs import pixel_options
from r2m.inference.loaded_model import ImageInputs, ImageReader
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features import FeatureExtractor
from tfrecords.features.reading import decode_files
from tfrecords.images.entries import ImageSource
from tfrecords.writing.shards import Skip


class TrainedInputs(NamedTuple):
    """The inputs that a captioner was trained on.

    Attributes:
        path: its run folder, for messages.
        config: configuration of the run.
        features: contents of `image_features.json`, see `captioner_inputs.saved_features`.
    """

    path: Path
    config: Any
    features: Mapping[str, Any]

    @property
    def has_pixels(self) -> bool:
        """Whether the captioner reads pixels through a network of its own."""
        return bool(self.config.image.source == "pixels")


def captioner_image_reader(
    members: Sequence[TrainedInputs],
    detections: Sequence[str],
    weights: str | None,
    *,
    vectors: bool,
) -> ImageReader:
    """Returns what makes the inputs of captioners of image files: pixels, features or both.

    Args:
        members: captioners that fit together, see `CaptionerEnsemble`; most often one.
        detections: must be empty: captioners read the images themselves.
        weights: file of the backbone's weights; None where they were not read from a file.
        vectors: adds `global` to the inputs, made as that of the records.

    Raises:
        InputError: detections are given, the features came from elsewhere, the backbone cannot be
            built, or weights are given and there are no features to make.
    """
    if detections:
        raise InputError(
            f"{members[0].path} is a captioner, which reads the images itself: no --detections"
        )
    with_pixels = [member for member in members if member.has_pixels]
    with_features = [member for member in members if not member.has_pixels]
    readers: list[ImageReader] = []
    if with_pixels:
        readers.append(partial(_read_pixels, pixel_options(with_pixels[0].config)))
    if extracted := with_features or (members[:1] if vectors else ()):
        readers.append(_feature_reader(extracted, weights, vectors=vectors))
    elif weights is not None:
        raise InputError(f"{members[0].path}: the captioner has its own network: no --weights")

    def read(images: Sequence[ImageSource]) -> ImageInputs:
        each = [reader(images) for reader in readers]
        merged = {name: tensor for one in each for name, tensor in one.inputs.items()}
        faults = zip(*(one.faults for one in each), strict=True)
        return ImageInputs(merged, None, [next(filter(None, own), None) for own in faults])

    return read


def _read_pixels(options: PixelOptions, images: Sequence[ImageSource]) -> ImageInputs:
    squashed, faults = _decode(images, options.resize)
    pixels = tf.image.resize_with_crop_or_pad(squashed, options.crop, options.crop)
    return ImageInputs({"pixels": pixels}, None, faults)


def _feature_reader(
    members: Sequence[TrainedInputs], weights: str | None, *, vectors: bool
) -> ImageReader:
    """Returns what makes features with the backbone of the members' records."""
    for member in members:
        own = member.features
        if own["records"]["backbone"] is None or "region_feature" in own["features"]:
            raise InputError(
                f"the captioner of {member.path} was trained on features that were made elsewhere: "
                "it can caption records (r2m-evaluate), not image files"
            )
    kinds = dict.fromkeys(kind for member in members for kind in member.features["features"])
    if vectors:
        kinds["global_feature"] = None
    options = CaptionOptions(features=tuple(kinds), unit_norm=members[0].config.data.unit_norm)
    # The shape of the grid is only known from records that store grids.
    recorded = max(members, key=lambda member: "grid_feature" in member.features["features"])
    extractor = FeatureExtractor(*_extractor_options(recorded, weights))
    features = extractor.features

    def read(images: Sequence[ImageSource]) -> ImageInputs:
        pixels, faults = _decode(
            images,
            extractor.options.image_size,
            short_side=features.short_side,
            crops=features.crops,
        )
        size = extractor.options.batch_size
        parts = [extractor(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        rows = {"global_feature": np.concatenate([part.pooled for part in parts])}
        if extractor.grid_shape is not None:
            rows["grid_feature"] = np.concatenate([part.grid for part in parts])
        tensors = {kind: tf.constant(row, tf.float32) for kind, row in rows.items()}
        return ImageInputs(inputs(tensors, options), None, faults)

    return read


def _decode(
    images: Sequence[ImageSource], size: int, *, short_side: int | None = None, crops: int = 1
) -> tuple[np.ndarray, list[Skip | None]]:
    """Returns the pixels of B images, as of `decode_or_fault`, and why images cannot be read.

    An unreadable image keeps its place with gray pixels; its caption is discarded.
    """
    several = () if crops == 1 else (crops,)
    # Gray, since some networks turn black into zeros, which are refused.
    pixels = np.full((len(images), *several, size, size, 3), 128.0, np.float32)
    faults: list[Skip | None] = []
    for item in decode_files(images, size, short_side=short_side, crops=crops):
        if isinstance(item, Skip):
            faults.append(item)
        else:
            pixels[len(faults)] = item.pixels
            faults.append(None)
    return pixels, faults


def _extractor_options(
    member: TrainedInputs, weights: str | None
) -> tuple[BackboneOptions, FeatureOptions]:
    """Returns the options that the features of the member's records were made with."""
    records = member.features["records"]
    backbone = records["backbone"]
    network = {field.name: backbone[field.name] for field in fields(BackboneOptions)}
    recorded = network["weights"]
    if recorded not in ("imagenet", "none"):
        if weights is None:
            raise InputError(
                f"the captioner of {member.path} was trained on features of {network['name']} with "
                f"the weights of a file {recorded}: give it with --weights=FILE"
            )
        if Path(weights).name != recorded:
            logging.warning("the captioner was trained with the weights of a file %s", recorded)
        network["weights"] = weights
    view = {name: backbone[name] for name in ("short_side", "crops", "unit_norm")}
    grid = records["grid_shape"]
    return BackboneOptions(**network), FeatureOptions(
        **view, grid=grid and grid[0], dtype=records["feature_dtype"]
    )
