"""Small instances of every captioner, with sample images and words.

To add a new captioner to all tests of captioners, add a line to `SMALL`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.captioners.base import Captioner
from models.captioners.pixels import PixelCaptioner
from models.captioners.registry import captioner_class
from models.decoding.ensemble import Ensemble
from models.r2m import R2M

V, D, G, L = 30, 6, 5, 4
SIZES: dict[str, Any] = {"units": 8, "word_size": 7}
GRID = {**SIZES, "feature_size": D, "grid_cells": L}
ROWS = {**SIZES, "feature_size": D, "attention_units": 9}
LAYERS: dict[str, Any] = {
    "feature_size": D, "units": 8, "heads": 2, "inner_units": 12, "encoder_layers": 2,
    "decoder_layers": 2,
}  # fmt: skip
ONE_LAYER = {**LAYERS, "encoder_layers": 1, "decoder_layers": 1}

# Name of a captioner -> constructor arguments, besides the vocabulary's size.
SMALL: dict[str, dict[str, Any]] = {
    "rnn": {**GRID, "pool": "flatten"},
    "lstm": GRID,
    "attention_lstm": GRID,
    "fc": {**SIZES, "feature_size": G},
    "att2in": ROWS,
    "att2in2": ROWS,
    "updown": {**ROWS, "global_size": G},
    "transformer": LAYERS,
    "relation_transformer": {**LAYERS, "decoder_layers": 1, "legacy_extra_skip": True},
    "spatial_transformer": {**ONE_LAYER, "grid_size": 3},
}
# The same for variants of captioners.
VARIANTS = {
    "updown_without_global": ("updown", ROWS),
    "spatial_transformer_dot_product": (
        "spatial_transformer",
        {**ONE_LAYER, "cross_attention": "dot_product", "position": "box-coord", "norm": "rms"},
    ),
    "transformer_tied": ("transformer", {**LAYERS, "tie_embeddings": True, "norm": "unbiased"}),
}
MODELS = (*SMALL, *VARIANTS)
TOKENS = tf.constant(np.random.default_rng(3).integers(0, V, (3, 6)), tf.int32)


class Sample(NamedTuple):
    """A small model and inputs for it.

    Attributes:
        build: function (`name`, `dtype`) -> model.
        inputs: function (number of images) -> inputs of `encode`; a larger number only appends
            images.
        unreached: parts of the paths of weights that do not affect the likelihood of captions.
    """

    build: Callable[..., Captioner]
    inputs: Callable[[int], dict[str, tf.Tensor]]
    unreached: tuple[str, ...] = ()


def images(batch: int, rows: int = L, seed: int = 0) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        "regions": tf.constant(rng.normal(size=(batch, rows, D)), tf.float32),
        "global": tf.constant(rng.normal(size=(batch, G)), tf.float32),
        "boxes": tf.constant(_boxes(rng, batch, rows), tf.float32),
    }


def _boxes(rng: np.random.Generator, batch: int, rows: int) -> np.ndarray:
    """Returns boxes of at least a tenth of each side: [B, L, 4]."""
    corners = rng.uniform(size=(batch, rows, 2)) * 0.5
    return np.concatenate([corners, corners + rng.uniform(0.1, 0.5, corners.shape)], axis=-1)


def build(name: str, dtype: str = "float32") -> tuple[Any, dict[str, tf.Tensor]]:
    keras.utils.set_random_seed(0)
    inputs = images(3)
    for kind in ("regions", "global"):
        inputs[kind] = tf.cast(inputs[kind], dtype)
    if name == "updown_without_global":
        del inputs["global"]
    return sample(name).build(dtype=dtype), inputs


@contextlib.contextmanager
def computing_in(policy: str) -> Iterator[None]:
    """Sets the Keras dtype policy of layers that are constructed in this context."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def sample(name: str) -> Sample:
    """Returns the sample of a name in `MODELS` or `OTHERS`."""
    return OTHERS[name] if name in OTHERS else _registered(name)


def image_inputs(kinds: tuple[str, ...]) -> Callable[[int], dict[str, tf.Tensor]]:
    """Returns the `inputs` of a sample for a captioner of these kinds of inputs."""

    def inputs(count: int) -> dict[str, tf.Tensor]:
        found = {name: tensor[:count] for name, tensor in images(4).items()}
        for kind in {"global", "boxes"} - set(kinds):
            del found[kind]
        if not {"grid", "regions"} & set(kinds):
            del found["regions"]
        if "regions" in kinds:
            lengths = tf.constant([4, 1, 3, 2][:count])
            found["region_lengths"] = lengths
            if "boxes" in found:
                found["boxes"] *= tf.sequence_mask(lengths, L, tf.float32)[:, :, tf.newaxis]
        return found

    return inputs


@functools.cache
def _registered(name: str) -> Sample:
    name, arguments = VARIANTS.get(name, (name, SMALL.get(name, {})))
    cls = captioner_class(name)

    def build(**kwargs: Any) -> Captioner:
        return cls(vocabulary_size=V, **arguments, **kwargs)

    has_global = cls.inputs.required[0] == "global" or "global_size" in arguments
    kinds = tuple(kind for kind in cls.inputs.kinds if kind != "global" or has_global)
    # A softmax does not depend on a constant that is added to all scores.
    return Sample(build, image_inputs(kinds), unreached=("attention/score/bias",))


def _r2m(**arguments: Any) -> Sample:
    def inputs(count: int) -> dict[str, tf.Tensor]:
        concepts = [[4, 5, 6], [7, 8, 0], [9, 4, 0], [0, 0, 0]]
        lengths = [3, 2, 2, 0]
        return {
            "concepts": tf.constant(concepts[:count]),
            "concept_lengths": tf.constant(lengths[:count]),
        }

    def build(**kwargs: Any) -> R2M:
        return R2M(vocabulary_size=V, units=8, image_features=4, **arguments, **kwargs)

    return Sample(build, inputs, unreached=("reconstructor", "image_map"))


@keras.saving.register_keras_serializable("tests")
def scale_pixels(pixels: tf.Tensor) -> tf.Tensor:
    return pixels / 255.0


def _pixels() -> Sample:
    def build(**kwargs: Any) -> PixelCaptioner:
        # Only the captioner's activations may have half precision.
        network = keras.Sequential(
            [
                keras.Input((8, 8, 3), dtype="float32"),
                keras.layers.Conv2D(D, 3, 4, padding="same", dtype="float32"),
                keras.layers.BatchNormalization(dtype="float32"),
            ]
        )
        dtype = kwargs.get("dtype")
        captioner = captioner_class("updown")(vocabulary_size=V, global_size=D, dtype=dtype, **ROWS)
        return PixelCaptioner(
            captioner=captioner,
            network=network,
            preprocess=scale_pixels,
            trained_from="all",
            **kwargs,
        )

    def inputs(count: int) -> dict[str, tf.Tensor]:
        pixels = np.random.default_rng(1).uniform(0, 255, (4, 8, 8, 3))
        return {"pixels": tf.constant(pixels[:count], tf.float32)}

    return Sample(build, inputs, unreached=("attention/score/bias",))


def _ensemble() -> Sample:
    members = [_registered("lstm"), _registered("att2in2")]

    def build(dtype: Any = None, **kwargs: Any) -> Ensemble:
        built = [member.build(dtype=dtype) for member in members]
        names = [list(member.inputs(1)) for member in members]
        return Ensemble(members=built, member_inputs=names, dtype=dtype, **kwargs)

    return Sample(build, members[1].inputs, unreached=("attention/score/bias",))


OTHERS: dict[str, Sample] = {
    "r2m": _r2m(),
    "r2m_lstm": _r2m(decoder="lstm", fusion="concat", tie_embeddings=True),
    "pixels": _pixels(),
    "ensemble": _ensemble(),
}
SAMPLES = (*MODELS, *OTHERS)
