"""Features of a store as they stand in records: a string of little-endian float16 numbers each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrecords.examples import FeatureValue
from tfrecords.feature_stores import FeatureStore, StoredFeatures

FEATURE_KINDS = ("global_feature", "grid_feature", "region_feature")
FEATURE_DTYPE = "float16"

Shapes = Mapping[str, tuple[int | None, ...]]


class UnusableFeatures(ValueError):
    """Why the features of one image cannot be stored."""


def stored_values(store: FeatureStore, keys: Sequence[str]) -> dict[str, FeatureValue]:
    """The features of an image, encoded.

    Args:
        store: where they are.
        keys: what the image is called, tried in turn.

    Returns:
        A byte string for each kind that the store has, of little-endian float16; with
        `region_feature` also `boxes` float32 [N, 4]; `height` and `width` where they are known.

    Raises:
        UnusableFeatures: the store has none for the image, or not of the shapes it promises, or
            numbers that float16 cannot hold.
        InputError: what is stored is damaged.
    """
    found = store.get(*keys)
    if found is None:
        raise UnusableFeatures(f"none for {', '.join(keys)}")
    values: dict[str, FeatureValue] = {}
    for kind, shape in store.shapes.items():
        if kind in FEATURE_KINDS:
            values[kind] = _half_bytes(getattr(found, kind), kind, shape)
    if "region_feature" in values:
        values["boxes"] = _boxes(found)
    if found.height and found.width:
        values |= {"height": int(found.height), "width": int(found.width)}
    return values


def describe_features(shapes: Shapes) -> dict[str, Any]:
    """The TFDS description of what `stored_values` gives, but of heights and widths."""
    import tensorflow_datasets as tfds

    described: dict[str, Any] = {
        kind: tfds.features.Tensor(
            shape=shape, dtype=np.float16, encoding=tfds.features.Encoding.BYTES
        )
        for kind, shape in shapes.items()
        if kind in FEATURE_KINDS
    }
    if "region_feature" in described:
        described["boxes"] = tfds.features.Tensor(shape=(None, 4), dtype=np.float32)
    return described


def _half_bytes(array: np.ndarray | None, kind: str, shape: tuple[int | None, ...]) -> bytes:
    if array is None:
        raise UnusableFeatures(f"no {kind}")
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise UnusableFeatures(f"{kind} has the shape {array.shape}, expected {shape}")
    with np.errstate(over="ignore"):
        half = np.asarray(array).astype("<f2")
    if not np.isfinite(half).all():
        raise UnusableFeatures(f"{kind} has numbers that are not finite in float16")
    return half.tobytes()


def _boxes(found: StoredFeatures) -> np.ndarray:
    regions = 0 if found.region_feature is None else len(found.region_feature)
    if found.boxes is None or found.boxes.shape != (regions, 4):
        shape = None if found.boxes is None else found.boxes.shape
        raise UnusableFeatures(f"boxes have the shape {shape}, expected ({regions}, 4)")
    return np.asarray(found.boxes, np.float32)
