"""Features of a store as they stand in records: a string of little-endian numbers each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrecords.feature_options import FeatureDtype
from tfrecords.feature_stores import FeatureStore, StoredFeatures
from tfrecords.writing.examples import FeatureValue

FEATURE_KINDS = ("global_feature", "grid_feature", "region_feature")

Shapes = Mapping[str, tuple[int | None, ...]]


class UnusableFeaturesError(ValueError):
    """Why the features of one image cannot be stored."""


def stored_values(
    store: FeatureStore, keys: Sequence[str], dtype: FeatureDtype
) -> dict[str, FeatureValue]:
    """The features of an image, encoded.

    Args:
        store: where they are.
        keys: what the image is called, tried in turn.
        dtype: of the stored numbers.

    Returns:
        A byte string for each kind that the store has; `boxes` float32 [N, 4] where it has boxes;
        `height` and `width` where they are known.

    Raises:
        UnusableFeaturesError: the store has none for the image, or not of the shapes it promises,
            or numbers that `dtype` cannot hold.
        InputError: what is stored is damaged.
    """
    found = store.get(*keys)
    if found is None:
        raise UnusableFeaturesError(f"none for {', '.join(keys)}")
    values: dict[str, FeatureValue] = {
        kind: _bytes_of(getattr(found, kind), kind, shape, dtype)
        for kind, shape in store.shapes.items()
    }
    if store.has_boxes:
        values["boxes"] = _boxes(found)
    if found.height and found.width:
        values |= {"height": int(found.height), "width": int(found.width)}
    return values


def recorded_shapes(shapes: Shapes) -> dict[str, Any]:
    """What the options in a manifest say of the shapes of stored features; None for what is not.

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
    array: np.ndarray | None, kind: str, shape: tuple[int | None, ...], dtype: FeatureDtype
) -> bytes:
    if array is None:
        raise UnusableFeaturesError(f"no {kind}")
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise UnusableFeaturesError(f"{kind} has the shape {array.shape}, expected {shape}")
    with np.errstate(over="ignore"):
        stored = np.asarray(array).astype(np.dtype(dtype).newbyteorder("<"))
    if not np.isfinite(stored).all():
        raise UnusableFeaturesError(f"{kind} has numbers that are not finite in {dtype}")
    return stored.tobytes()


def _boxes(found: StoredFeatures) -> np.ndarray:
    regions = 0 if found.region_feature is None else len(found.region_feature)
    if found.boxes is None or found.boxes.shape != (regions, 4):
        shape = None if found.boxes is None else found.boxes.shape
        raise UnusableFeaturesError(f"boxes have the shape {shape}, expected ({regions}, 4)")
    return np.asarray(found.boxes, np.float32)
