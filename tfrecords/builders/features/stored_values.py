"""Encoding of a store's features for records: one string of little-endian numbers each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.examples import FeatureValue
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.types import FEATURE_KINDS, FeatureStore, StoredFeatures
from tfrecords.pictures.feature_options import FeatureOptions

Shapes = Mapping[str, tuple[int | None, ...]]


def stores_boxes(store: FeatureStore, unknown: Sequence[str]) -> bool:
    """Returns whether the boxes of a store can be stored; logs the reason if they cannot.

    Args:
        store: the feature store.
        unknown: names of the images whose sizes no other source contains.
    """
    if not (store.has_boxes and store.needs_sizes and unknown):
        return store.has_boxes
    logging.warning(
        "%s contains boxes in pixels, and no source has the sizes of %s: boxes are left out. Add "
        ",sizes=FILE (a COCO JSON with widths and heights) to the path of the features",
        store.paths[0],
        describe_names(unknown),
    )
    return False


def stored_values(
    store: FeatureStore, found: StoredFeatures, options: FeatureOptions, where: str, *, boxes: bool
) -> dict[str, FeatureValue]:
    """Encodes the features of an image.

    Args:
        store: the store of the features.
        found: the features that it returned for the image.
        options: `unit_norm` and `dtype` of the stored numbers.
        where: name of the image in messages.
        boxes: whether the boxes are stored, see `stores_boxes`.

    Returns:
        A byte string for each kind in the store; `boxes` float32 [N, 4] if boxes are stored;
        `height` and `width` if they are known.

    Raises:
        InputError: the shapes are not those of the store, or `dtype` cannot represent a number.
    """
    values: dict[str, FeatureValue] = {
        kind: _bytes_of(getattr(found, kind), shape, options, f"{where}: {kind}")
        for kind, shape in store.shapes.items()
    }
    if boxes:
        values["boxes"] = _boxes(found, where)
    if found.height and found.width:
        values |= {"height": int(found.height), "width": int(found.width)}
    return values


def recorded_shapes(shapes: Shapes) -> dict[str, Any]:
    """Returns the shapes of stored features for the options in a manifest; None for missing ones.

    `feature_size` is D of the vector (without one, of the map or of the regions), `grid_shape` that
    of the map, `region_size` D of the regions.
    """
    sizes = [shapes[kind][-1] for kind in FEATURE_KINDS if kind in shapes]
    return {
        "feature_size": sizes[0] if sizes else None,
        "grid_shape": list(shapes["grid_feature"]) if "grid_feature" in shapes else None,
        "region_size": shapes["region_feature"][-1] if "region_feature" in shapes else None,
    }


def _bytes_of(
    array: np.ndarray | None, shape: tuple[int | None, ...], options: FeatureOptions, where: str
) -> bytes:
    if array is None:
        raise InputError(f"{where} is missing, but other images have it")
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{where} has the shape {array.shape}, expected {shape}")
    if not array.size:
        raise InputError(f"{where} has no row: the image has no region to attend to")
    if not np.isfinite(array).all():
        raise InputError(
            f"{where} has NaN or infinite numbers: the features are damaged; extract them again"
        )
    if options.unit_norm:
        norms = np.linalg.norm(array.astype(np.float32), axis=-1, keepdims=True)
        array = np.divide(array, norms, where=norms > 0, out=np.zeros(array.shape, np.float32))
    with np.errstate(over="ignore"):
        stored = array.astype(np.dtype(options.dtype).newbyteorder("<"))
    if not np.isfinite(stored).all():
        raise InputError(
            f"{where} has numbers up to {np.abs(array).max():g}, which are not finite in "
            f"{options.dtype}; use float32, which has a larger range"
        )
    return stored.tobytes()


def _boxes(found: StoredFeatures, where: str) -> np.ndarray:
    if found.corners is not None:
        raise InputError(f"{where}: its boxes are in pixels, and its size is not known")
    regions = 0 if found.region_feature is None else len(found.region_feature)
    if found.boxes is None or found.boxes.shape != (regions, 4):
        shape = None if found.boxes is None else found.boxes.shape
        raise InputError(f"{where}: boxes have the shape {shape}, expected ({regions}, 4)")
    return np.asarray(found.boxes, np.float32)
