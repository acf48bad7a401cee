"""Shapes and TFDS descriptions of the features that records contain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import (
    DEFAULT_FEATURES,
    VIEWS,
    BackboneOptions,
    FeatureDtype,
    FeatureOptions,
)


def grid_shape(
    backbone: BackboneOptions, features: FeatureOptions = DEFAULT_FEATURES
) -> tuple[int, int, int]:
    """Returns the shape (gh, gw, D) of a backbone's feature map.

    Raises:
        InputError: the backbone cannot be built, or outputs no feature map.
    """
    from tfrecords.pictures.extraction import cached_extractor

    shape = cached_extractor(backbone, features).grid_shape
    if shape is None:
        raise InputError(
            f"{backbone.name} (layer {backbone.layer or 'last'}, {features.crops} crops) gives "
            "vectors, and no feature map"
        )
    return shape


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
