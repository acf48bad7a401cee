"""Captioners of pixels: batches without images, and rows of unit norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.att2in import Att2in
from models.captioners.base import Captioner, Inputs
from models.captioners.pixels import PixelCaptioner
from pipelines.inputs.boxes import Boxes
from pipelines.inputs.grid import Grid
from pipelines.inputs.spec import InputSpec

D = 6


def small(**changes: Any) -> PixelCaptioner:
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, 2, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(D, 1, activation="relu", use_bias=False),
        ]
    )
    captioner = Att2in(vocabulary_size=9, feature_size=D, units=5, word_size=4, attention_units=3)
    settings = {"trained_from": "all", **changes}
    return PixelCaptioner(
        captioner=captioner, network=network, preprocess=lambda x: x / 255.0, **settings
    )


def gradients(model: PixelCaptioner, *batches: tf.Tensor) -> list[dict[str, np.ndarray]]:
    """Returns the gradients of all weights for each batch, in a graph with unknown batch size."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def find(pixels: tf.Tensor) -> list[tf.Tensor]:
        watched = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            memory = model.encode({"pixels": pixels}, training=True)
            hidden = model.teacher_forced(memory, tf.ones([tf.shape(pixels)[0], 3], tf.int32))
            loss = tf.reduce_sum(model.logits(tf.reshape(hidden, [-1, 5])) ** 2)
        return [tf.convert_to_tensor(x) for x in tape.gradient(loss, watched)]

    names = [f"{i} {v.path}" for i, v in enumerate(model.trainable_variables)]
    return [dict(zip(names, (x.numpy() for x in find(pixels)), strict=True)) for pixels in batches]


def pictures(count: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).uniform(0, 255, (count, 8, 8, 3)), tf.float32)


@pytest.mark.parametrize("unit_norm", [False, True])
def test_no_images_have_gradients_of_0(unit_norm: bool) -> None:
    model = small(unit_norm=unit_norm)
    # Repeated, because uninitialized memory may be 0 by chance.
    some, *none = gradients(model, pictures(2), *[pictures(0)] * 3)
    assert any("depthwise" in name and gradient.any() for name, gradient in some.items())
    for found in none:
        for name, gradient in found.items():
            assert not gradient.any(), name
    memory = model.encode({"pixels": pictures(0)})
    assert memory["rows"].shape == (0, 16, D)


def test_a_network_of_keras_applications_is_saved_and_loaded(tmp_path: Path) -> None:
    mobilenet = keras.applications.mobilenet_v2
    network = mobilenet.MobileNetV2(
        include_top=False, input_shape=(32, 32, 3), weights=None, alpha=0.35
    )
    sizes = {"vocabulary_size": 9, "feature_size": 1_280, "units": 2, "word_size": 2}
    captioner = Att2in(attention_units=2, **sizes)
    model = PixelCaptioner(
        captioner=captioner,
        network=network,
        preprocess=mobilenet.preprocess_input,
        trained_from="Conv_1",
        name="own",
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    pixels = tf.random.stateless_uniform([1, 32, 32, 3], [0, 1], 0, 255)
    rows = [each.encode({"pixels": pixels})["rows"] for each in (model, loaded)]
    np.testing.assert_array_equal(*rows)
    paths = [[v.path for v in each.trainable_variables] for each in (model, loaded)]
    assert len(paths[0]) == len(paths[1]) < len(model.weights)


def test_rows_of_unit_norm_are_those_of_stored_features() -> None:
    plain, unit = small(), small(unit_norm=True)
    pixels = tf.concat([pictures(2), tf.zeros([1, 8, 8, 3])], axis=0)
    maps = plain.network(pixels / 255.0, training=False)
    stored = Grid(unit_norm=True).assemble({"grid_feature": maps})["regions"]
    rows = unit.encode({"pixels": pixels})["rows"]
    np.testing.assert_allclose(rows, stored, rtol=1e-5)
    norms = np.linalg.norm(rows, axis=-1)
    np.testing.assert_allclose(norms[norms > 0], 1.0, rtol=1e-5)
    # Feature maps may be 0, which must not make gradients infinite.
    assert not norms[2].any()
    (found,) = gradients(unit, pixels)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


class Shown(Captioner):
    """Captioner whose `encode` returns its inputs."""

    inputs = Inputs(required=("regions", "boxes"), optional=("global",))

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        return inputs


def test_cells_have_the_boxes_of_stored_grids() -> None:
    model = small()
    maps = model.network(pictures(2) / 255.0, training=False)
    model.captioner = Shown()
    shown = model.encode({"pixels": pictures(2)})
    rows = InputSpec((Grid(), Boxes(Grid()))).assemble({"grid_feature": maps})
    np.testing.assert_array_equal(shown["boxes"], rows["boxes"])
    np.testing.assert_allclose(shown["regions"], rows["regions"], rtol=1e-6)
    assert shown["boxes"].shape == (2, 16, 4)
    appending = small(unit_norm=True, use_box=True)
    appending.captioner = Shown()
    grid = Grid(unit_norm=True, use_box=True).assemble({"grid_feature": maps})
    shown = appending.encode({"pixels": pictures(2)})
    np.testing.assert_allclose(shown["regions"], grid["regions"], rtol=1e-5)
    assert appending.get_config()["use_box"]


def test_the_vector_of_an_image_is_the_mean_of_the_maps_as_they_are() -> None:
    for unit_norm in (False, True):
        model = small(unit_norm=unit_norm)
        model.captioner = Shown()
        maps = model.network(pictures(2) / 255.0, training=False)
        shown = model.encode({"pixels": pictures(2)})
        np.testing.assert_allclose(shown["global"], tf.reduce_mean(maps, [1, 2]), rtol=1e-5)


def test_a_mirror_image_gives_the_mirrored_average_outside_training() -> None:
    plain, both = small(), small(average_mirrored=True)
    pixels = pictures(2)
    turned = tf.reverse(pixels, axis=[2])

    def maps(model: PixelCaptioner, shown: tf.Tensor, training: bool = False) -> np.ndarray:
        rows = model.encode({"pixels": shown}, training=training)["rows"]
        return rows.numpy().reshape(2, 4, 4, D)

    average = (maps(plain, pixels) + maps(plain, turned)[:, :, ::-1]) / 2
    np.testing.assert_allclose(maps(both, pixels), average, rtol=1e-6)
    np.testing.assert_allclose(maps(both, turned), average[:, :, ::-1], rtol=1e-6)
    assert np.abs(average - maps(plain, pixels)).max() > 1e-3
    np.testing.assert_array_equal(maps(both, pixels, True), maps(plain, pixels, True))
