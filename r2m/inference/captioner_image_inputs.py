"""Inputs of captioners from image files: pixels, and features made as those of the records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines.inputs.spec import PICTURES, InputSpec
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.loaded_model import ImageInputs, ImageReader
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions, FeatureOptions, Interpolation
from tfrecords.features import FeatureExtractor
from tfrecords.features.reading import decode_files
from tfrecords.images.entries import ImageSource
from tfrecords.writing.shards import Skip

# Columns of records that a backbone makes of pictures.
_OF_BACKBONE = frozenset({"global_feature", "grid_feature"})


def captioner_image_reader(
    members: Sequence[TrainedInputs],
    inputs: InputSpec,
    detections: Sequence[str],
    weights: str | None,
) -> ImageReader:
    """Returns what makes the inputs of captioners of image files: pixels, features or both.

    Args:
        members: captioners that fit together, see `join_captioners`; most often one.
        inputs: of all members, and further ones.
        detections: must be empty: captioners read the images themselves.
        weights: file of the backbone's weights; None where they were not read from a file.

    Raises:
        InputError: detections are given, the features came from elsewhere, the backbone cannot be
            built, or weights are given and there are no features to make.
    """
    if detections:
        raise InputError(
            f"{members[0].path} is a captioner, which reads the images itself: no --detections "
            "(Python: detections=)"
        )
    extractor: FeatureExtractor | None = None
    if inputs.stored:
        extractor = _extractor(members, inputs, weights)
    elif weights is not None:
        raise InputError(
            f"{members[0].path}: the captioner has its own network: no --weights (Python: weights=)"
        )

    def read(images: Sequence[ImageSource]) -> ImageInputs:
        batch = _ImageBatch(images, extractor)
        return ImageInputs(inputs.from_images(batch), None, batch.faults)

    return read


class _ImageBatch:
    """Image files, decoded for model inputs (an `ImageBatch` of `pipelines.inputs`).

    Unreadable images keep their places with gray pixels; their captions are discarded.

    Attributes:
        faults: per image, why it cannot be read, as far as it was decoded; None where it can.
    """

    def __init__(self, images: Sequence[ImageSource], extractor: FeatureExtractor | None) -> None:
        self.faults: list[Skip | None] = [None] * len(images)
        self._images, self._extractor = images, extractor
        self._features: dict[str, tf.Tensor] = {}

    def columns(self, names: Collection[str]) -> dict[str, tf.Tensor]:
        """Returns features as the records of these images would hold them."""
        self._features = self._features or self._extract()
        return {name: self._features[name] for name in names}

    def squashed(self, side: int, interpolation: Interpolation) -> tf.Tensor:
        """Returns the images, squashed to squares: float32[B, side, side, 3] in 0..255."""
        return tf.constant(self._decode(side, interpolation))

    def _extract(self) -> dict[str, tf.Tensor]:
        extractor = self._extractor
        assert extractor is not None, "without columns of features, none are extracted"
        backbone, options = extractor.options, extractor.features
        pixels = self._decode(
            backbone.image_size,
            backbone.interpolation,
            short_side=options.short_side,
            crops=options.crops,
        )
        size = backbone.batch_size
        parts = [extractor(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        rows = {"global_feature": np.concatenate([part.pooled for part in parts])}
        if extractor.grid_shape is not None:
            rows["grid_feature"] = np.concatenate([part.grid for part in parts])
        return {name: tf.constant(row, tf.float32) for name, row in rows.items()}

    def _decode(
        self,
        size: int,
        interpolation: Interpolation,
        *,
        short_side: int | None = None,
        crops: int = 1,
    ) -> np.ndarray:
        """Returns the pixels of the images, as of `decode_or_fault`."""
        several = () if crops == 1 else (crops,)
        # Gray, since some networks turn black into zeros, which are refused.
        pixels = np.full((len(self._images), *several, size, size, 3), 128.0, np.float32)
        decoded = decode_files(
            self._images,
            size,
            short_side=short_side,
            crops=crops,
            interpolation=interpolation,
        )
        for place, item in enumerate(decoded):
            if isinstance(item, Skip):
                self.faults[place] = self.faults[place] or item
            else:
                pixels[place] = item.pixels
        return pixels


def _extractor(
    members: Sequence[TrainedInputs], inputs: InputSpec, weights: str | None
) -> FeatureExtractor:
    """Returns the backbone of the members' records."""
    elsewhere = set(inputs.columns) - _OF_BACKBONE - {PICTURES}
    with_features = [member for member in members if member.inputs.stored]
    for member in with_features:
        if member.backbone is None or elsewhere & set(member.inputs.columns):
            raise InputError(
                f"the captioner of {member.path} was trained on features that were made elsewhere: "
                "it can caption records (r2m-evaluate), not image files"
            )
    # The shape of the grid is only known from records that store grids.
    recorded = max(
        with_features or members[:1],
        key=lambda member: "grid_feature" in member.inputs.columns,
    )
    return FeatureExtractor(*_extractor_options(recorded, weights))


def _extractor_options(
    member: TrainedInputs, weights: str | None
) -> tuple[BackboneOptions, FeatureOptions]:
    """Returns the options that the features of the member's records were made with."""
    backbone = member.backbone
    if backbone is None:
        raise InputError(
            f"the records of {member.path} have no backbone that could make features of images"
        )
    network: dict[str, Any] = {
        field.name: backbone[field.name] for field in fields(BackboneOptions)
    }
    recorded = network["weights"]
    if recorded not in ("imagenet", "none"):
        if weights is None:
            raise InputError(
                f"the captioner of {member.path} was trained on features of {network['name']} with "
                f"the weights of a file {recorded}: give it with "
                "--weights=FILE (Python: weights=)"
            )
        if Path(weights).name != recorded:
            logging.warning(
                "%s: the captioner was trained with features of another weights file, %s",
                weights, recorded,
            )  # fmt: skip
        network["weights"] = weights
    view = {name: backbone[name] for name in ("short_side", "crops", "unit_norm")}
    grid = member.grid_shape
    return BackboneOptions(**network), FeatureOptions(
        **view, grid=grid[0] if grid else None, dtype=member.feature_dtype
    )
