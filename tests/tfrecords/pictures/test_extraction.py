"""Parts of an image that a network encodes, and the features that are kept."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.pictures import backbones
from tfrecords.pictures.decoding import cut_image, decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor, adaptive_average_pooling
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions

# Features of random weights fade to zero in the deep nets without shortcuts; VGG is shallow.
NET = BackboneOptions(name="VGG16", weights="none", image_size=64)


@pytest.fixture(scope="module")
def pixels():
    return np.random.RandomState(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(pixels):
    return FeatureExtractor(NET, FeatureOptions(dtype="float32"))(pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 16))
def test_adaptive_pooling_averages_the_bins_of_the_specification(height, width, size):
    maps = np.random.RandomState(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = np.zeros((2, size, size, 3))
    for i in range(size):
        for j in range(size):
            rows = slice(i * height // size, int(np.ceil((i + 1) * height / size)))
            columns = slice(j * width // size, int(np.ceil((j + 1) * width / size)))
            expected[:, i, j] = maps[:, rows, columns].mean((1, 2))
    found = adaptive_average_pooling(tf.constant(maps), size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_maps_are_pooled_and_vectors_are_not(pixels, plain):
    assert plain.grid.shape == (3, 2, 2, 512)
    extractor = FeatureExtractor(NET, FeatureOptions(grid=3, dtype="float32"))
    assert extractor.grid_shape == (3, 3, 512)
    found = extractor(pixels)
    np.testing.assert_allclose(found.grid[:, 1, 1], plain.grid.mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(found.grid[:, 0, 0], plain.grid[:, 0, 0])
    np.testing.assert_allclose(found.pooled, plain.pooled, rtol=1e-5)
    assert extractor(pixels, with_grid=False).grid is None


def test_unit_norm_and_half_precision(pixels, plain):
    found = FeatureExtractor(NET, FeatureOptions(unit_norm=True))(pixels)
    assert found.pooled.dtype == found.grid.dtype == np.float16
    for ours, raw in ((found.pooled, plain.pooled), (found.grid, plain.grid)):
        expected = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
        np.testing.assert_allclose(ours, expected, atol=1e-3)
    stored = found.stored(1)
    assert np.frombuffer(stored["global_feature"], "<f2").tolist() == found.pooled[1].tolist()
    assert len(stored["grid_feature"]) == 2 * 2 * 2 * 512


def test_ten_crops_are_averaged(pixels):
    options = FeatureOptions(short_side=80, crops=10, dtype="float32", unit_norm=True)
    extractor = FeatureExtractor(NET, options)
    crops = np.stack([pixels[:1], pixels[1:2]] * 5, axis=1)
    found = extractor(crops)
    assert extractor.grid_shape is None and found.grid is None
    each = FeatureExtractor(NET, FeatureOptions(dtype="float32"))(pixels[:2]).pooled.mean(0)
    np.testing.assert_allclose(found.pooled[0], each / np.linalg.norm(each), rtol=1e-4, atol=1e-6)


def test_an_image_and_its_mirror_image_are_averaged(pixels, plain):
    options = FeatureOptions(average_mirrored=True, dtype="float32")
    found = FeatureExtractor(NET, options)(pixels)
    mirrored = FeatureExtractor(NET, FeatureOptions(dtype="float32"))(pixels[:, :, ::-1])
    # Random weights are seeded: all extractors have the same ones.
    expected = (plain.grid + mirrored.grid[:, :, ::-1]) / 2
    np.testing.assert_allclose(found.grid, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found.pooled, (plain.pooled + mirrored.pooled) / 2, rtol=1e-4, atol=1e-6
    )
    assert not np.allclose(found.grid, plain.grid, rtol=1e-3)


def test_crops_lie_where_they_should():
    # The color of a pixel says where it is.
    rows, columns = np.mgrid[:60, :90]
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    one = cut_image(tf.constant(image), 20, short_side=60).numpy()
    assert one.shape == (20, 20, 3)
    assert one[0, 0].tolist() == [20, 35, 0]
    ten = cut_image(tf.constant(image), 20, short_side=60, crops=10).numpy()
    corners = [(0, 0), (0, 70), (40, 0), (40, 70), (20, 35)]
    assert [tuple(crop[0, 0, :2].astype(int)) for crop in ten[:5]] == corners
    np.testing.assert_array_equal(ten[5:], ten[:5, :, ::-1])
    np.testing.assert_array_equal(ten[4], one)


def test_the_shorter_side_keeps_the_proportions():
    stream = io.BytesIO()
    Image.fromarray(np.full((101, 67, 3), 90, np.uint8)).save(stream, "PNG")
    upright = decode_or_fault(stream.getvalue(), 32, short_side=40)
    assert upright.shape == (32, 32, 3)
    np.testing.assert_allclose(upright, 90, atol=0.01)
    ten = decode_or_fault(stream.getvalue(), 32, short_side=40, crops=10)
    assert ten.shape == (10, 32, 32, 3)


def test_a_layer_behind_the_feature_maps(pixels):
    small = BackboneOptions(name="VGG19", weights="none", image_size=32, layer="fc2")
    vectors = FeatureExtractor(small)
    assert (vectors.grid_shape, vectors.feature_size) == (None, 4096)
    found = vectors(pixels[:, :32, :32])
    assert found.grid is None
    assert found.pooled.shape == (3, 4096)
    assert (found.pooled >= 0).all()


def test_a_layer_among_the_feature_maps_whose_name_keras_numbers(monkeypatch):
    def tiny(input_shape, include_top, weights):
        inputs = keras.Input(input_shape)
        maps = keras.layers.Conv2D(4, 1, strides=2)(inputs)
        maps = keras.layers.Conv2D(8, 1, strides=2)(maps)
        return keras.Model(inputs, keras.layers.Flatten()(maps) if include_top else maps)

    module = SimpleNamespace(tiny=tiny, preprocess_input=lambda images: images)
    monkeypatch.setattr(backbones, "_application_modules", lambda: {"tiny": module})
    options = BackboneOptions(name="tiny", weights="none", image_size=8)
    for layer, shape in (("conv2d", (4, 4, 4)), (None, (2, 2, 8)), ("flatten", None)):
        keras.utils.clear_session()
        assert FeatureExtractor(replace(options, layer=layer)).grid_shape == shape


def test_a_download_that_fails_names_weights_that_need_none(monkeypatch):
    def fetch(*_, **__):
        raise ValueError("URL fetch failure on https://...: no route to host")

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", fetch)
    with pytest.raises(InputError, match=r"no route to host; offline, give --weights=FIL"):
        FeatureExtractor(BackboneOptions(name="MobileNet", weights="imagenet", image_size=224))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "fc9"}, "VGG16 has no layer 'fc9'; its last ones: .*fc2, predictions"),
        ({"name": "keras_hub:"}, "cannot build keras_hub:"),
        ({"name": "keras_hub:nowhere"}, "cannot build keras_hub:nowhere.*Unknown preset"),
        ({"name": "keras_hub:nowhere", "alpha": 0.5}, "has no alpha"),
        ({"name": "VGG17"}, r"did you mean VGG1\d\?; known: .*VGG16.*and keras_hub:PRESET"),
        ({"image_size": 20}, "cannot build VGG16"),
    ],
)
def test_networks_that_do_not_exist(change, message):
    if "keras_hub" in change.get("name", ""):
        pytest.importorskip("keras_hub")
    with pytest.raises(InputError, match=f"(?s){message}"):
        FeatureExtractor(replace(NET, **change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float64"}, "known: float16, float32"),
        ({"crops": 5}, "known: 1, 10"),
        ({"crops": 10}, "give short_side"),
        (
            {"crops": 10, "short_side": 80, "average_mirrored": True},
            "leave average_mirrored out",
        ),
        ({"grid": 0}, "grid=0"),
        ({"short_side": 60}, "short_side=60 is less than image_size=64"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        FeatureExtractor(NET, FeatureOptions(**options))


def test_sizes_below_one_are_refused():
    with pytest.raises(InputError, match="batch_size=0"):
        BackboneOptions(batch_size=0)


def test_numbers_too_large_for_half_precision(pixels):
    extractor = FeatureExtractor(NET)
    for variable in extractor.model.variables[-2:]:
        variable.assign(variable * 1e6 + 1e5)
    with pytest.raises(
        InputError, match=r"not finite in float16.*the range of dtype float32 is larger"
    ):
        extractor(pixels)


def test_without_keras_hub_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"needs KerasHub .*pip install 'r2m\[keras_hub\]'"):
        FeatureExtractor(replace(NET, name="keras_hub:resnet_50_imagenet"))


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    keras_hub = pytest.importorskip("keras_hub")
    folder = tmp_path_factory.mktemp("presets")
    resnet = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    vit = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=(8, 8), num_layers=1, num_heads=2, hidden_dim=8,
        mlp_dim=16,
    )  # fmt: skip
    for model in (resnet, vit):
        # Unlike those that the initial values of the saved configuration make again.
        for variable in model.trainable_variables:
            variable.assign(variable * 0.9 + 0.01)
    scale = {"scale": [1 / 127.5] * 3, "offset": [-1.0] * 3}
    for name, model, kind in (
        ("resnet", resnet, keras_hub.layers.ResNetImageConverter),
        ("vit", vit, keras_hub.layers.ViTImageConverter),
    ):
        model.save_to_preset(folder / name)
        kind(image_size=(32, 32), **scale).save_to_preset(folder / name)
    return folder, {"resnet": resnet, "vit": vit}


def test_kerashub_presets_with_their_own_scaling(presets, pixels):
    folder, models = presets
    # Another size than that of the preset's own converter.
    resnet = BackboneOptions(name=f"keras_hub:{folder / 'resnet'}", image_size=64)
    extractor = FeatureExtractor(resnet, FeatureOptions(dtype="float32"))
    expected = models["resnet"](pixels / 127.5 - 1)
    assert extractor.grid_shape == (8, 8, 64)
    np.testing.assert_allclose(extractor(pixels).grid, expected, rtol=1e-3, atol=1e-4)
    random = FeatureExtractor(replace(resnet, weights="none"), FeatureOptions(dtype="float32"))
    assert np.abs(random(pixels).grid - expected).max() > 1e-2


def test_tokens_of_a_transformer_are_a_map_without_the_class_token(presets, pixels):
    folder, models = presets
    options = BackboneOptions(name=f"keras_hub:{folder / 'vit'}", image_size=32)
    extractor = FeatureExtractor(options, FeatureOptions(dtype="float32"))
    assert extractor.grid_shape == (4, 4, 8)
    small = pixels[:, :32, :32]
    tokens = np.asarray(models["vit"](small / 127.5 - 1))
    assert tokens.shape == (3, 17, 8)
    found = extractor(small)
    np.testing.assert_allclose(found.grid.reshape(3, 16, 8), tokens[:, 1:], rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="does not accept an image of 64 x 64 pixels"):
        FeatureExtractor(replace(options, image_size=64))


def test_weights_file_for_a_preset(presets, pixels, tmp_path):
    folder, models = presets
    path = tmp_path / "w.weights.h5"
    models["resnet"].save_weights(path)
    options = BackboneOptions(
        name=f"keras_hub:{folder / 'resnet'}", image_size=64, weights=str(path)
    )
    found = FeatureExtractor(options, FeatureOptions(dtype="float32"))(pixels)
    expected = models["resnet"](pixels / 127.5 - 1)
    np.testing.assert_allclose(found.grid, expected, rtol=1e-3, atol=1e-4)
