"""Relation and spatial transformers: sizes, use of boxes, attention, invalid settings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.base import Captioner
from models.captioners.registry import build_captioner, captioner_class
from models.layers import box_geometry
from tests.models.small_captioners import ONE_LAYER, TOKENS, V, sample

# Numbers of weights: linear layers from 512 to 512 and to 256 units; a feed-forward of 2048 units.
MAP, HALF, FEED_FORWARD = 512 * 513, 256 * 513, 2 * 512 * 2_048 + 2_048 + 512
NORM = 2 * 512


def transformer_weights(vocabulary: int, layers: int) -> int:
    """Returns the number of weights of the published transformer, for features of size 2,048."""
    encoder = 4 * MAP + FEED_FORWARD + 2 * NORM
    decoder = 8 * MAP + FEED_FORWARD + 3 * NORM
    ends = 512 * 2_049 + 2 * NORM + vocabulary * (512 + 513)
    return layers * (encoder + decoder) + ends


def weights_of(name: str, **settings: Any) -> int:
    """Returns the number of weights at the published size, with one layer each and 10 words."""
    sizes = {"vocabulary_size": 10, "feature_size": 2_048}
    model = captioner_class(name)(**sizes, encoder_layers=1, decoder_layers=1, **settings)
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_weights_of_the_published_sizes() -> None:
    one_layer, coco = transformer_weights(10, 1), transformer_weights(9_488, 6)
    assert coco == 54_914_832
    relation = weights_of("relation_transformer") - one_layer
    assert 6 * relation == 3_120
    plain = {"position": "none", "cross_attention": "dot_product"}
    assert weights_of("spatial_transformer", **plain) == one_layer
    gxg = 2 * 13 * 512 + MAP
    xlinear = weights_of("spatial_transformer") - one_layer - gxg
    assert xlinear == 4 * NORM + HALF + 257 + 512 * 257
    assert f"{(coco + gxg + 6 * xlinear) / 1e6:.2f}" == "56.79"


def build(name: str, **settings: Any) -> Captioner:
    keras.utils.set_random_seed(0)
    return captioner_class(name)(vocabulary_size=V, **{**ONE_LAYER, **settings})


def hidden(model: Captioner, images: dict[str, tf.Tensor]) -> np.ndarray:
    found: np.ndarray = model.teacher_forced(model.encode(images), TOKENS[:, :2]).numpy()
    return found


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("relation_transformer", {}),
        ("relation_transformer", {"box_trigonometric_embedding": False}),
        *(
            ("spatial_transformer", {"position": kind})
            for kind in ("gxg", "g2", "box-coord", "sinusoid", "none")
        ),
    ],
)
def test_captions_depend_on_boxes(name: str, settings: dict[str, Any]) -> None:
    model, images = build(name, **settings), sample(name).inputs(3)
    moved = {**images, "boxes": images["boxes"][:, ::-1] * 0.5}
    differs = np.abs(hidden(model, images) - hidden(model, moved)).max() > 1e-4
    assert differs == (settings.get("position") != "none")


def test_the_bias_of_relations_is_that_of_the_formula() -> None:
    """Geometry is embedded once; every layer has separate weights."""
    model, images = build("relation_transformer", encoder_layers=2), sample(
        "relation_transformer"
    ).inputs(3)  # fmt: skip
    geometry = box_geometry.embed_geometry(box_geometry.relative_geometry(images["boxes"]))
    first, second = model.score_biases(images)
    layer = model.relation_biases[1]
    wanted = np.log(np.maximum(geometry @ layer.kernel + layer.bias, 1e-6))
    np.testing.assert_allclose(tf.transpose(second, [0, 2, 3, 1]), wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(first - second).max() > 0.1


def test_the_extra_skip_adds_the_input_before_the_output_map() -> None:
    plain, images = build("relation_transformer"), sample("relation_transformer").inputs(3)
    skip = build("relation_transformer", legacy_extra_skip=True)
    skip.set_weights(plain.get_weights())
    assert np.abs(hidden(plain, images) - hidden(skip, images)).max() > 1e-3
    attention = plain.encoder_layers[0].attention
    attention.output_map.kernel.assign(tf.zeros_like(attention.output_map.kernel))
    skip.set_weights(plain.get_weights())
    np.testing.assert_array_equal(hidden(plain, images), hidden(skip, images))


@pytest.mark.parametrize("name", ["relation_transformer", "spatial_transformer"])
def test_training_on_grids_whose_size_is_not_known(name: str) -> None:
    """As for batches of records: only the feature size is static, and no row is padded."""
    model, images = build(name), sample(name).inputs(3)
    given = {key: images[key] for key in ("regions", "boxes")}
    shapes = {key: tf.TensorSpec([None, None, x.shape[2]]) for key, x in given.items()}
    words = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[shapes, words, tf.TensorSpec([None], tf.int32)], autograph=False)
    def run(images: dict[str, tf.Tensor], tokens: tf.Tensor, lengths: tf.Tensor) -> Any:
        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            found = model.teacher_forced(model.encode(images), tokens, lengths)
            loss = tf.reduce_sum(found**2)
        return found, tape.gradient(loss, variables, unconnected_gradients="zero")

    lengths = tf.constant([6, 1, 3])
    found, gradients = run(given, TOKENS, lengths)
    wanted = model.teacher_forced(model.encode(given), TOKENS, lengths)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert all(np.isfinite(tf.convert_to_tensor(x)).all() for x in gradients)


@pytest.mark.parametrize("name", ["relation_transformer", "spatial_transformer"])
def test_a_replica_without_images(name: str) -> None:
    """A batch may have fewer images than there are replicas."""
    model = build(name)
    nothing = {key: x[:0] for key, x in sample(name).inputs(3).items()}
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        memory = model.encode(nothing, training=True)
        found = model.teacher_forced(memory, TOKENS[:0], tf.zeros([0], tf.int32), training=True)
        loss = tf.reduce_sum(found**2)
    assert found.shape[:2] == (0, TOKENS.shape[1])
    for gradient in tape.gradient(loss, variables, unconnected_gradients="zero"):
        assert not np.any(tf.convert_to_tensor(gradient))


def test_impossible_settings_are_refused() -> None:
    sizes = {"vocabulary_size": V, "region_size": 6}
    with pytest.raises(ValueError, match=r"unknown position 'gxx'; known: gxg, .*sinusoid, none"):
        build_captioner("spatial_transformer", **sizes, position="gxx")
    with pytest.raises(ValueError, match=r"unknown cross_attention 'x'; known: xlinear, dot_prod"):
        build_captioner("spatial_transformer", **sizes, cross_attention="x")
    with pytest.raises(ValueError, match=r"needs regions features"):
        build_captioner("relation_transformer", vocabulary_size=V)
    with pytest.raises(ValueError, match=r"missing input boxes: found regions, tokens"):
        build("relation_transformer")({"regions": tf.zeros([3, 4, 6]), "tokens": TOKENS})
