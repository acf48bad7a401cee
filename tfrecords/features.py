"""Image features of a convolutional backbone from `keras.applications`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrecords.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Which network looks at the images, and at what size.

    Attributes:
        name: a class of `keras.applications`, e.g. `MobileNet`, `ResNet101`, `EfficientNetV2S`.
        weights: `imagenet` (downloaded by Keras), a weights file, or `none` (random, for tests).
        image_size: pixels of the square the images are resized to (not cropped).
        alpha: width multiplier of the MobileNets; None for all others.
        batch_size: images a step.
    """

    name: str = "MobileNet"
    weights: str = "imagenet"
    image_size: int = 224
    alpha: float | None = None
    batch_size: int = 32

    @property
    def weights_file(self) -> Path | None:
        """The weights file, if the weights are one."""
        return None if self.weights in ("imagenet", "none") else Path(self.weights)


class ImageFeatures(NamedTuple):
    """Features of B images.

    Attributes:
        grid: float16 [B, gh, gw, D], the last feature map.
        pooled: float16 [B, D], its mean over the grid.
    """

    grid: np.ndarray
    pooled: np.ndarray


def backbone_names() -> tuple[str, ...]:
    """The names `BackboneOptions.name` may have."""
    return tuple(sorted(_backbone_modules()))


def decode_image(data: bytes) -> tf.Tensor:
    """The pixels of a JPEG, PNG, BMP or GIF (its first frame), uint8 [H, W, 3].

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no whole image.
    """
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def resize_image(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes one image to a square as the backbones are fed: the whole image, not cropped.

    Args:
        pixels: uint8 [H, W, 3].
        size: side of the square in pixels.

    Returns:
        float32 [size, size, 3] in 0..255. An image of that size already is not changed.
    """
    resized = tf.image.resize(tf.cast(pixels, tf.float32), (size, size), antialias=True)
    return tf.clip_by_value(resized, 0.0, 255.0)


class FeatureExtractor:
    """A backbone with its own preprocessing, for batches of images.

    Attributes:
        model: float32 [B, size, size, 3] as its `preprocess_input` gives -> [B, gh, gw, D].
        grid_shape: (gh, gw, D).
    """

    def __init__(self, options: BackboneOptions) -> None:
        """Builds the backbone and loads its weights.

        Raises:
            InputError: an unknown name, an option it has not, or weights that do not fit.
        """
        self.options = options
        module = _module_of(options.name)
        self._preprocess = module.preprocess_input
        self.model = _build_backbone(options)
        self.model.trainable = False
        self.grid_shape: tuple[int, int, int] = tuple(self.model.output_shape[1:])
        # One signature for all batches: the last one is filled up instead of compiled again.
        self._run = tf.function(
            self._forward,
            input_signature=[
                tf.TensorSpec((None, options.image_size, options.image_size, 3), tf.float32)
            ],
        )

    def _forward(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        grid = tf.cast(self.model(self._preprocess(images), training=False), tf.float32)
        return tf.cast(grid, tf.float16), tf.cast(tf.reduce_mean(grid, (1, 2)), tf.float16)

    def pooled(self, images: tf.Tensor) -> tf.Tensor:
        """Mean features inside another graph: float32 [B, size, size, 3] in 0..255 -> [B, D]."""
        grid = self.model(self._preprocess(images), training=False)
        return tf.reduce_mean(tf.cast(grid, tf.float32), (1, 2))

    def __call__(self, images: np.ndarray | tf.Tensor) -> ImageFeatures:
        """The features of images.

        Args:
            images: float32 [B, size, size, 3] in 0..255, from `resize_image`.

        Raises:
            InputError: the features do not fit into float16, all zero or not finite.
        """
        grid, pooled = self._run(tf.convert_to_tensor(images, tf.float32))
        found = ImageFeatures(grid.numpy(), pooled.numpy())
        if not found.pooled.any() or not np.isfinite(found.pooled).all():
            fault = "zero" if not found.pooled.any() else "not finite"
            raise InputError(
                f"the features of {self.options.name} are {fault} in float16 for a batch of "
                f"{len(found.pooled)} images (weights {self.options.weights!r}); random weights "
                "fade out in networks without shortcuts: take trained ones, or DenseNet121"
            )
        return found

    def of_bytes(self, images: Sequence[bytes]) -> ImageFeatures:
        """The features of B encoded images; all of them must be readable.

        Raises:
            tf.errors.InvalidArgumentError: one is not.
        """
        size = self.options.image_size
        steps = [
            self(tf.stack([resize_image(decode_image(data), size) for data in chunk]))
            for chunk in _chunks(images, self.options.batch_size)
        ]
        return ImageFeatures(*(np.concatenate(parts) for parts in zip(*steps, strict=True)))


@lru_cache(maxsize=1)
def cached_extractor(options: BackboneOptions) -> FeatureExtractor:
    """The extractor of these options, built once a process (a worker has many shards)."""
    return FeatureExtractor(options)


def decode_all(
    images: Sequence[bytes], size: int | None, threads: int = 2
) -> list[tf.Tensor | str]:
    """Decodes images in threads.

    Args:
        images: encoded images.
        size: resize to float32 [size, size, 3]; None only checks that the images can be read.
        threads: how many at once.

    Returns:
        One item an image: its pixels, or the text of what is wrong with it.
    """

    def decode(data: bytes) -> tf.Tensor | str:
        try:
            pixels = decode_image(data)
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            return str(error.message)
        return pixels if size is None else resize_image(pixels, size)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(decode, images))


def _chunks(items: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@lru_cache(maxsize=1)
def _backbone_modules() -> dict[str, ModuleType]:
    modules = [m for _, m in inspect.getmembers(keras.applications, inspect.ismodule)]
    return {
        name: module
        for module in modules
        if hasattr(module, "preprocess_input")
        for name, item in inspect.getmembers(module, inspect.isfunction)
        if name[0].isupper()
    }


def _module_of(name: str) -> ModuleType:
    modules = _backbone_modules()
    if name not in modules:
        raise InputError(f"unknown backbone {name!r}; known: {', '.join(sorted(modules))}")
    return modules[name]


def _build_backbone(options: BackboneOptions) -> keras.Model:
    function = getattr(_module_of(options.name), options.name)
    size = options.image_size
    arguments = {"include_top": False, "input_shape": (size, size, 3), "weights": None}
    if options.alpha is not None:
        if "alpha" not in inspect.signature(function).parameters:
            raise InputError(f"backbone {options.name} has no alpha (only the MobileNets have one)")
        arguments["alpha"] = options.alpha
    if options.weights == "imagenet":
        arguments["weights"] = "imagenet"
    path = options.weights_file
    if path is not None and not path.is_file():
        raise InputError(
            f"there is no weights file {path}; give a file, `imagenet` (downloaded) or `none`"
        )
    if options.weights == "none":
        # Every process that extracts features must draw the same random network.
        keras.utils.set_random_seed(0)
    try:
        model = function(**arguments)
        before = [v.numpy() for v in model.trainable_variables]
        if path is not None:
            model.load_weights(path)
    except Exception as error:  # Keras raises whatever its downloader or HDF5 raised
        raise InputError(
            f"cannot build {options.name} (size {size}, alpha {options.alpha}) with the weights "
            f"{options.weights!r}: {error}"
        ) from error
    if path is not None:
        _check_all_loaded(model, before, path)
    return model


def _check_all_loaded(model: keras.Model, before: Sequence[np.ndarray], path: Path) -> None:
    """Refuses a file that left kernels at their random start values.

    Keras only warns about layers that a weights file does not have. Vectors (biases, scales) are
    not compared: a trained one may well be all zeros or ones.
    """
    kernels = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if old.ndim > 1 and np.array_equal(variable.numpy(), old)
    ]
    if kernels:
        raise InputError(
            f"{path} has no weights for {len(kernels)} layers of {model.name} (first: "
            f"{kernels[0]}): it belongs to another network"
        )
