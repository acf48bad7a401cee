"""Inputs of captioners from image files: pixels, and features computed as in the records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_inputs import REGIONS, TrainedInputs
from r2m.inference.concept_rules import detection_sources
from r2m.inference.loaded_model import ImageInputs, ImageReader
from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.detections.regions import RegionOptions, read_detected_boxes
from tfrecords.pictures.extraction import FeatureExtractor, ImageFeatures
from tfrecords.pictures.feature_options import (
    AVERAGE_MIRRORED,
    BackboneOptions,
    FeatureOptions,
    Interpolation,
)
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_reading import decode_files
from tfrecords.pictures.named_images import ImageSource
from tfrecords.pictures.region_boxes import NO_DETECTED_BOXES, WHOLE_IMAGE, DetectedBoxes
from tfrecords.pictures.region_pooling import pool_regions


def captioner_image_reader(
    members: Sequence[TrainedInputs],
    inputs: InputSpec,
    images: Sequence[ImageSource],
    detections: Sequence[str],
    weights: str | None,
) -> ImageReader:
    """Returns a function from image files to inputs of captioners: pixels, features or both.

    Args:
        members: compatible captioners, see `join_captioners`; usually one.
        inputs: inputs of all members, and further ones.
        images: all images that will be read; only required with detections.
        detections: files with detections in the images, for captioners of regions pooled over
            detected boxes; empty for all others.
        weights: file of the backbone's weights; None if they were not read from a file.

    Raises:
        InputError: detections are given but not needed, or needed but not given; the features were
            not computed by R2M; the backbone cannot be built; or weights are given but no features
            are computed.
    """
    extractor: FeatureExtractor | None = None
    if inputs.stored:
        extractor = records_extractor(members, inputs, weights)
    elif weights is not None:
        raise InputError(
            f"{members[0].path}: the captioner contains its network: leave out --weights "
            "(Python: weights=)"
        )

    detected = _detected_boxes(members, images, detections)

    def read(images: Sequence[ImageSource]) -> ImageInputs:
        batch = _ImageBatch(images, extractor, detected)
        return ImageInputs(inputs.from_images(batch), None, batch.faults)

    return read


class _ImageBatch:
    """Image files, decoded for model inputs (an `ImageBatch` of `pipelines.inputs`).

    Unreadable images are replaced by gray pixels, and their captions are discarded.

    Attributes:
        faults: per image, the reason why it cannot be read, once decoded; None for readable images.
    """

    def __init__(
        self,
        images: Sequence[ImageSource],
        extractor: FeatureExtractor | None,
        detected: Mapping[str, DetectedBoxes] | None,
    ) -> None:
        self.faults: list[Skip | None] = [None] * len(images)
        self._images, self._extractor, self._detected = images, extractor, detected
        self._boxes = [WHOLE_IMAGE] * len(images)
        self._features: dict[str, tf.Tensor] = {}

    def columns(self, names: Collection[str]) -> dict[str, tf.Tensor]:
        """Returns features in the form in which records store them."""
        self._features = self._features or self._extract()
        return {name: self._features[name] for name in names}

    def squashed(self, side: int, interpolation: Interpolation) -> tf.Tensor:
        """Returns the images, resized to squares: float32[B, side, side, 3] in 0..255."""
        return tf.constant(self._decode(side, interpolation))

    def _extract(self) -> dict[str, tf.Tensor]:
        extractor = self._extractor
        assert extractor is not None, "without columns of features, none are extracted"
        pixels = self._decode(**extractor.square)
        size = extractor.options.batch_size
        with_maps = self._detected is not None
        parts = [
            extractor(pixels[i : i + size], with_maps=with_maps)
            for i in range(0, len(pixels), size)
        ]
        rows = {"global_feature": np.concatenate([part.pooled for part in parts])}
        if extractor.grid_shape is not None:
            rows["grid_feature"] = np.concatenate([part.grid for part in parts])
        found = {name: tf.constant(row, tf.float32) for name, row in rows.items()}
        return found | (self._regions(parts) if with_maps else {})

    def _regions(self, parts: Sequence[ImageFeatures]) -> dict[str, tf.Tensor]:
        """Returns ragged `region_feature` and `boxes` of the images."""
        assert self._extractor is not None
        maps = [each for part in parts if part.maps is not None for each in part.maps]
        vectors = [
            pool_regions(each, boxes, self._extractor.features)
            for each, boxes in zip(maps, self._boxes, strict=True)
        ]
        lengths = [len(boxes) for boxes in self._boxes]
        columns = {"region_feature": vectors, "boxes": self._boxes}
        return {
            name: tf.RaggedTensor.from_row_lengths(
                tf.constant(np.concatenate(rows), tf.float32), lengths
            )
            for name, rows in columns.items()
        }

    def _decode(
        self,
        size: int,
        interpolation: Interpolation,
        *,
        short_side: int | None = None,
        crops: int = 1,
    ) -> np.ndarray:
        """Returns the pixels of the images, see `decode_or_fault`."""
        several = () if crops == 1 else (crops,)
        # Gray, because some networks map black to zeros, which are rejected.
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
                if self._detected is not None:
                    detected = self._detected.get(self._images[place].name, NO_DETECTED_BOXES)
                    self._boxes[place] = detected.regions(read_header(item.data))
        return pixels


def _detected_boxes(
    members: Sequence[TrainedInputs], images: Sequence[ImageSource], detections: Sequence[str]
) -> Mapping[str, DetectedBoxes] | None:
    """Returns the detected boxes of images, for captioners of pooled regions; else None.

    Raises:
        InputError: detections are given but not needed, or needed but not given.
    """
    readers = [member for member in members if member.needs_detections]
    if not readers:
        if detections:
            raise InputError(
                f"the model of {members[0].path} was not trained on regions of detected boxes: "
                "leave out --detections (Python: detections=)"
            )
        return None
    member = readers[0]
    if not detections:
        raise InputError(
            f"the model of {member.path} was trained on regions of detected boxes: give "
            "detections in the images with --detections (Python: detections=), such as records "
            "of r2m-detect-objects"
        )
    assert member.backbone is not None
    options = RegionOptions(
        detections=tuple(detection_sources(member.regions or [], detections)),
        most=member.backbone[REGIONS]["most"],
    )
    return read_detected_boxes(options, list(dict.fromkeys(image.name for image in images)))


def records_extractor(
    members: Sequence[TrainedInputs], inputs: InputSpec, weights: str | None
) -> FeatureExtractor:
    """Returns the backbone of the members' records.

    Args:
        members: see `captioner_image_reader`.
        inputs: see `captioner_image_reader`.
        weights: see `captioner_image_reader`.

    Raises:
        InputError: the features were not computed by R2M, or the backbone cannot be built.
    """
    with_features = [member for member in members if member.inputs.stored]
    for member in with_features:
        if set(member.inputs.stored) - member.columns_of_backbone:
            raise InputError(
                f"the model of {member.path} was trained on features that R2M did not compute: it "
                "can caption records (r2m-evaluate), but not image files. For image files, train "
                "on records of r2m-build-captions --backbone (for regions, also --regions)"
            )
    # Only records that store grids contain the shape of the grid.
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
            f"the records of {member.path} do not name a backbone that can compute features of "
            "images"
        )
    network: dict[str, Any] = {
        field.name: backbone[field.name] for field in fields(BackboneOptions)
    }
    recorded = network["weights"]
    if recorded not in ("imagenet", "none"):
        if weights is None:
            raise InputError(
                f"the model of {member.path} was trained on features of {network['name']} with "
                f"the weights file {recorded}: give this file with "
                "--weights=FILE (Python: weights=)"
            )
        if Path(weights).name != recorded:
            logging.warning(
                "%s: the model was trained with features of another weights file, %s",
                weights, recorded,
            )  # fmt: skip
        network["weights"] = weights
    view = {name: backbone[name] for name in ("short_side", "crops", "unit_norm")}
    view[AVERAGE_MIRRORED] = backbone.get(AVERAGE_MIRRORED, False)
    grid = member.grid_shape
    return BackboneOptions(**network), FeatureOptions(
        **view, grid=grid[0] if grid else None, dtype=member.feature_dtype
    )
