"""Options of regions, and selection of an image's regions from its detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource, ImageDetections, read_detections
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions
from tfrecords.pictures.region_boxes import NO_DETECTED_BOXES, DetectedBoxes

MAX_REGIONS = 36
# Boxes that agree within this fraction of a side are one region, regardless of class.
_SAME = 1e-3


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """Boxes whose features are stored.

    Attributes:
        detections: files with the boxes. Labels of the whole image are ignored.
        most: maximum number of boxes per image in addition to the whole image; the highest scores
            are kept.
    """

    detections: tuple[DetectionSource, ...]
    most: int = MAX_REGIONS

    def __post_init__(self) -> None:
        """Checks that the options contain detections and allow boxes."""
        if not self.detections:
            raise InputError("regions need a file of detections")
        if self.most < 1:
            raise InputError(f"max_regions={self.most} must be at least 1")

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings, as JSON, that select an image's regions among the detected boxes."""
        # Each split may have a separate file, so the number of files is not recorded.
        return {"most": self.most, "min_scores": sorted({s.min_score for s in self.detections})}

    @property
    def recorded_files(self) -> list[dict[str, Any]]:
        """The files, for the options in a manifest."""
        return [
            {
                "file": source.path.name,
                "companion": source.companion.name if source.companion else None,
                **source.recorded,
            }
            for source in self.detections
        ]


def read_detected_boxes(
    options: RegionOptions | None, names: Collection[str], converted: Counter[str] | None = None
) -> dict[str, DetectedBoxes] | None:
    """Reads the detected boxes of images.

    Args:
        options: files, thresholds and the number of boxes; None without regions.
        names: names of the images.
        converted: updated with the numbers of converted boxes and scores, by format.

    Returns:
        Mapping from name to boxes, for images with detections; None without regions.

    Raises:
        InputError: a file is missing or malformed, or contains none of the images.
    """
    if options is None:
        return None
    found = read_detections(options.detections, names=names, converted=converted)
    detected = {name: most_certain(one, options) for name, one in found.items()}
    detected = {name: boxes for name, boxes in detected.items() if len(boxes.boxes)}
    if without := len(set(names) - detected.keys()):
        logging.warning(
            "%d of %d images have no detected box: the whole image is their only region",
            without,
            len(names),
        )
    return detected


def most_certain(found: ImageDetections, options: RegionOptions) -> DetectedBoxes:
    """Returns the distinct boxes of an image with the highest weighted scores."""
    weights = np.array([source.weight for source in options.detections], np.float32)
    scores = np.where(found.is_tag, -1.0, found.scores * weights[found.source_index])
    order = np.argsort(-scores, kind="stable")[: int((~found.is_tag).sum())]
    _, first = np.unique(np.round(found.boxes[order] / _SAME), axis=0, return_index=True)
    chosen = order[np.sort(first)][: options.most]
    sizes = tuple(found.sizes[int(found.source_index[place])] for place in chosen)
    return DetectedBoxes(found.boxes[chosen].astype(np.float32), sizes)


def check_regions(
    regions: RegionOptions | None, backbone: BackboneOptions | None, features: FeatureOptions
) -> None:
    """Raises InputError unless regions can be pooled from the maps of a backbone."""
    if regions is None:
        return
    if backbone is None:
        raise InputError("regions are pooled from a feature map: give the backbone too")
    if features.short_side is not None:
        raise InputError(
            "regions are pooled from a map of the whole image, but short_side cuts a square out of "
            "it: leave short_side and crops out"
        )
    if features.views is not None:
        raise InputError("views have no regions: leave views or regions out")


def recorded_regions(regions: RegionOptions | None, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options for a manifest, in addition to those of `recorded_backbone`."""
    if regions is None:
        return {}
    return {
        "backbone": {**recorded["backbone"], "regions": regions.recorded},
        "regions": regions.recorded_files,
    }


def region_sources(regions: RegionOptions | None) -> list[Path]:
    """Returns the files that determine the regions."""
    return [file for source in regions.detections for file in source.files] if regions else []


def boxes_of_names(
    detected: Mapping[str, DetectedBoxes] | None, names: Sequence[str]
) -> tuple[DetectedBoxes, ...] | None:
    """Returns the boxes of each name; None without regions."""
    return (
        None if detected is None else tuple(detected.get(name, NO_DETECTED_BOXES) for name in names)
    )
