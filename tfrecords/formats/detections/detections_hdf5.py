"""Reader of detections in HDF5, from the R2M authors' `detect_objects.py` (spec section 2.2).

The file has one group per image, named like the image file without suffix, with three data sets:
`detection_boxes` [N, 4] (ymin, xmin, ymax, xmax in 0..1), `detection_scores` [N] and
`detection_classes` [N] (ids of the detector's label map). It does not contain the sizes of the
images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import normalize_name
from tfrecords.formats.detections.box_formats import AS_EXPECTED, BoxOptions, WrittenBoxes
from tfrecords.formats.detections.written_boxes import read_written
from tfrecords.formats.hdf5_files import read_values
from tfrecords.language.label_maps import LabelMap
from tfrecords.pictures.boxes import ImageBoxes
from tfrecords.pictures.image_names import is_image_name

_BOXES, _SCORES, _CLASSES = "detection_boxes", "detection_scores", "detection_classes"
_EXPECTED = (
    f"one group per image with {_BOXES} [N, 4], {_SCORES} [N] and {_CLASSES} [N] (equal N), "
    "stored in the file itself"
)
# Room for a million boxes.
_MOST_BYTES = 16 << 20


def read_hdf5(
    path: Path,
    label_map: LabelMap,
    options: BoxOptions = AS_EXPECTED,
    converted: Counter[str] | None = None,
) -> Iterator[ImageBoxes]:
    """Yields every image of the file, sorted by name, with one image in memory at a time.

    Args:
        path: the HDF5 file.
        label_map: the detector's classes.
        options: formats of boxes and scores.
        converted: see `read_written`.

    Raises:
        InputError: the file is not HDF5, damaged, of another layout, or has boxes in another
            format; names the group and its contents.
    """
    yield from read_written(
        _images(path),
        label_map.classes,
        path=path,
        native="relative_yxyx",
        options=options,
        converted=converted,
    )


def _images(path: Path) -> Iterator[WrittenBoxes]:
    try:
        with h5py.File(path, "r") as file:
            names: list[str] = []
            # Visits every object of the file once, and follows no links out of it.
            file.visititems(lambda name, item: names.append(name) if _is_image(item) else None)
            if not names:
                raise InputError(
                    f"{path} contains no images: its top level contains "
                    f"{', '.join(map(repr, list(file)[:5])) or 'nothing'}; expected {_EXPECTED}"
                )
            for name in names:
                yield _image(file[name], name, path)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds
        raise InputError(f"cannot read the detections {path}: {error}") from error


def _is_image(item: Any) -> bool:
    return isinstance(item, h5py.Group) and any(
        name in item for name in (_BOXES, _SCORES, _CLASSES)
    )


def _image(group: h5py.Group, name: str, path: Path) -> WrittenBoxes:
    place = f"{path}: group {name!r}"
    if not is_image_name(name):
        raise InputError(f"{place}: the name is not a valid image name")
    boxes, scores, classes = (_values(group, key, place) for key in (_BOXES, _SCORES, _CLASSES))
    count = len(boxes)
    if not (boxes.shape == (count, 4) and scores.shape == classes.shape == (count,)):
        found = f"{boxes.shape}, {scores.shape} and {classes.shape}"
        raise InputError(f"{place} has the shapes {found}; expected {_EXPECTED}")
    name = normalize_name(name)
    return WrittenBoxes(name, 0, 0, boxes, scores, classes, lambda row: f"{place}: box {row}")


def _values(group: h5py.Group, key: str, place: str) -> np.ndarray:
    try:
        values = read_values(group, key, _MOST_BYTES)
    except ValueError as error:
        raise InputError(f"{place}: {key}: {error}; expected {_EXPECTED}") from error
    if values.dtype.kind not in "iuf" or not 1 <= values.ndim <= 2:
        raise InputError(
            f"{place}: {key} is {values.dtype} of shape {values.shape}; expected {_EXPECTED}"
        )
    return values.astype(np.float64)
