"""Conversion of the boxes of a file to `Detections`, and a check of their format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.box_evidence import BoxEvidence
from tfrecords.formats.detections.box_formats import (
    AS_EXPECTED,
    BoxOptions,
    WrittenBoxes,
    corners,
    is_relative,
)
from tfrecords.formats.features.pixel_sizes import read_sizes
from tfrecords.pictures.boxes import ImageBoxes, checked_detections


def read_written(
    images: Iterator[WrittenBoxes],
    classes: Mapping[int, str],
    *,
    path: Path,
    native: str,
    options: BoxOptions = AS_EXPECTED,
    converted: Counter[str] | None = None,
) -> Iterator[ImageBoxes]:
    """Converts the boxes of a file, and checks their format at the end of the file.

    Args:
        images: all images of the file.
        classes: class id -> name.
        path: the file, for messages.
        native: the format of this kind of file.
        options: the formats of this file, if they differ from the native one.
        converted: updated with the numbers of converted boxes and scores, by format.

    Raises:
        InputError: the boxes or scores of the whole file are in another format, or boxes are in
            pixels and the size of their image is unknown.
    """
    box_format = options.boxes or native
    percent = options.scores == "percent"
    evidence = BoxEvidence(path, box_format, percent=percent)
    sizes = _sizes(path, native, options)
    for image in images:
        height, width = (image.height, image.width) if sizes is None else sizes(image.name)
        evidence.add(image, height, width)
        edges = corners(image.boxes, box_format, np.array([[height, width]], np.float64))
        if converted is not None and len(edges):
            if box_format != native:
                converted[f"boxes_from_{box_format}"] += len(edges)
            if percent:
                converted["scores_from_percent"] += len(edges)
        yield ImageBoxes(
            name=image.name,
            height=height,
            width=width,
            found=checked_detections(
                edges, image.scores / 100 if percent else image.scores, image.class_ids, classes
            ),
        )
    evidence.check()


def _sizes(path: Path, native: str, options: BoxOptions) -> Callable[[str], tuple[int, int]] | None:
    """Returns a function from the name of an image to its height and width, or None."""
    if not is_relative(native):
        if options.sizes:
            raise InputError(
                f"{path} contains the sizes of its images: leave sizes={options.sizes} out"
            )
        return None
    if options.sizes is None:
        if options.boxes and not is_relative(options.boxes):
            raise InputError(
                f"boxes={options.boxes} are in pixels, and {path} does not contain the sizes of "
                "its images: add `,sizes=FILE`, a JSON with `images` (file_name, width, height)"
            )
        return None
    known, file = read_sizes(options.sizes), options.sizes

    def size_of(name: str) -> tuple[int, int]:
        base = name.rpartition("/")[2]
        size = known.get(name) or known.get(base) or known.get(base.rpartition(".")[0])
        if size is None:
            raise InputError(f"{file} has no size for image {name!r}, which has boxes in {path}")
        return size

    return size_of
