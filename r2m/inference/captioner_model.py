"""Construction of the captioner that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.captioners.base import Captioner
from models.captioners.pixels import PixelCaptioner
from models.captioners.registry import build_captioner
from models.layers.box_geometry import BOX_FEATURES
from pipelines.inputs.pixels import crop_size
from r2m.configuration.settings import precision, setting
from tfrecords.core.errors import InputError
from tfrecords.pictures.backbones import Network, build_network
from tfrecords.pictures.feature_options import BackboneOptions


def open_network(config: Any, dtype: str = "float32", *, load: bool = True) -> Network | None:
    """Builds the backbone that `config.image` describes; None for stored features.

    Args:
        config: configuration of the experiment.
        dtype: dtype of the activations, see `build_model`.
        load: whether to load its weights; false for a trained run, which restores them.

    Raises:
        InputError: the network or its weights do not exist, or it returns no feature maps.
    """
    image = config.image
    if image.source == "features":
        return None
    if image.source != "pixels":
        raise InputError(f"config.image: unknown source {image.source!r}; known: features, pixels")
    options = BackboneOptions(
        name=image.backbone,
        weights=image.weights if load else "none",
        image_size=crop_size(image),
        alpha=image.alpha or None,
    )
    with precision(dtype):
        network = build_network(options)
    if len(network.output_shape) != 3:
        raise InputError(f"config.image: {image.backbone} returns no feature maps")
    return network


def build_model(
    config: Any,
    vocabulary_size: int,
    sizes: Mapping[str, int | None],
    network: Network | None,
    dtype: str = "float32",
) -> Captioner:
    """Builds the captioner that `config.model` describes.

    Args:
        config: configuration of the experiment.
        vocabulary_size: V.
        sizes: sizes of stored features, see `InputSpec.sizes`.
        network: backbone of a captioner of pixels; None for stored features.
        dtype: dtype of the activations.

    Raises:
        InputError: a setting is invalid.
    """
    chosen = config.model.to_dict()
    name = chosen.pop("captioner")
    if network is not None:
        height, width, size = network.output_shape
        region_size = size + BOX_FEATURES if config.data.use_box else size
        sizes = {"global_size": size, "region_size": region_size, "grid_cells": height * width}
    with precision(dtype), setting("config.model"):
        captioner = build_captioner(name, vocabulary_size=vocabulary_size, **sizes, **chosen)
    if network is None:
        return captioner
    with setting("config.image"):
        return PixelCaptioner(
            captioner=captioner,
            network=network.model,
            preprocess=network.preprocess,
            trained_from=config.image.trained_from,
            average_mirrored=config.image.average_mirrored,
            unit_norm=config.data.unit_norm,
            use_box=config.data.use_box,
            name=name,
        )
