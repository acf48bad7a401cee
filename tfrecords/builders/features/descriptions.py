"""Shapes and TFDS descriptions of the features that records contain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tfrecords.builders.image_builds import FeatureBuildOptions
from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import (
    VIEWS,
    BackboneOptions,
    FeatureDtype,
    FeatureOptions,
)


def grid_shape(
    backbone: BackboneOptions, features: FeatureOptions, purpose: str = ""
) -> tuple[int, int, int]:
    """Returns the shape (gh, gw, D) of a backbone's feature map.

    Raises:
        InputError: the backbone cannot be built, or outputs no feature map; ends with `purpose`.
    """
    from tfrecords.pictures.extraction import cached_extractor

    shape = cached_extractor(backbone, features).grid_shape
    if shape is None:
        raise InputError(
            f"{backbone.name} (layer {backbone.layer or 'last'}, {features.crops} crops) outputs "
            f"vectors, not feature maps{purpose}"
        )
    return shape


def extracted_shapes(
    options: FeatureBuildOptions, *, regions: bool = False
) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each kind of feature that the backbone of a build computes, if any.

    Args:
        options: the backbone and the features to store.
        regions: whether features of regions are stored too.

    Raises:
        InputError: the backbone cannot be built, or outputs no feature map for a grid or regions.
    """
    if options.backbone is None:
        return {}
    from tfrecords.pictures.extraction import cached_extractor

    network = (options.backbone, options.features)
    size = cached_extractor(*network).feature_size
    shapes: dict[str, tuple[int | None, ...]] = {"global_feature": (size,)}
    if options.store_grid:
        shapes["grid_feature"] = grid_shape(*network, ": leave store_grid out")
    if regions:
        grid_shape(*network, " to pool regions from")
        shapes["region_feature"] = (None, size)
    return shapes


def raw_features(
    shapes: Mapping[str, tuple[int | None, ...]],
    features: FeatureOptions,
    *,
    views_of: Collection[str] = (),
) -> dict[str, Any]:
    """Returns the TFDS descriptions of stored features, and of their views.

    Args:
        shapes: shape of each kind of feature; None is a variable size.
        features: `dtype` of the numbers; with `views`, those of the training images are stored.
        views_of: kinds computed by a backbone, which are stored for views too.
    """
    import tensorflow_datasets as tfds

    found = {kind: raw_feature(shape, features.dtype) for kind, shape in shapes.items()}
    if features.views is not None:
        found |= {kind + VIEWS: tfds.features.Sequence(found[kind]) for kind in views_of}
    return found


def raw_feature(shape: tuple[int | None, ...], dtype: FeatureDtype) -> Any:
    """Returns the TFDS description of numbers stored as one string of bytes."""
    import tensorflow_datasets as tfds

    return tfds.features.Tensor(
        shape=shape, dtype=np.dtype(dtype).type, encoding=tfds.features.Encoding.BYTES
    )
