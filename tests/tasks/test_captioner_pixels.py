"""Captioners of pixels, with a network that may be trained with the captioner."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from captioner_runs import BACKBONE, small

from models.captioners.pixels import PixelCaptioner
from models.layers.pixel_network import feature_maps
from pipelines.inputs.pixels import Pixels
from r2m.inference.backbone_export import export_backbone
from r2m.inference.caption_files import caption_files
from r2m.inference.captioner_model import build_model, open_network
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.run import Run
from r2m.tasks.captioning import experiment
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.run_start import init_from_run
from tfrecords.core.errors import InputError
from tfrecords.pictures.backbones import Network, build_network
from tfrecords.pictures.feature_options import BackboneOptions


@pytest.fixture(scope="module")
def from_pixels(caption_records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a captioner that also trained the last layers of its network."""
    config = small(caption_records, "updown")
    config.image.update({**BACKBONE, "source": "pixels", "trained_from": "conv_pw_13"})
    config.stages.cross_entropy.evaluate_every = 0
    folder = tmp_path_factory.mktemp("pixels")
    run_captioner(config, folder)
    return folder / "cross_entropy"


def test_the_part_of_the_network_that_is_asked_for_is_trained(from_pixels: Path) -> None:
    run = Run.load(from_pixels)
    start = open_network(run.config)
    assert start is not None
    before = {layer.name: layer.get_weights() for layer in start.model.layers}
    moved = {
        layer.name
        for layer in run.model.network.layers
        if layer.get_weights()
        and any(map(np.any, map(np.subtract, layer.get_weights(), before[layer.name])))
    }
    # Signals vanish with random weights, so the kernel may have almost no gradient.
    assert "conv_pw_13_bn" in moved <= {"conv_pw_13", "conv_pw_13_bn"}


def test_the_network_computes_at_the_precision_of_the_captioner(from_pixels: Path) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("f")
    whole, half = (
        Run.load(from_pixels, precision=precision).model.network
        for precision in ("float32", "mixed_bfloat16")
    )
    assert {weight.dtype for weight in half.weights} == {"float32"}
    (plain, rounded) = (
        feature_maps(network, lambda x: x / 255, pixels) for network in (whole, half)
    )
    assert (plain.dtype, rounded.dtype) == (tf.float32, tf.bfloat16)
    error = np.linalg.norm(plain - tf.cast(rounded, tf.float32)) / np.linalg.norm(plain)
    assert 0 < error < 0.05


def test_image_files_are_captioned_as_stored_pictures_are(
    from_pixels: Path, att2in2_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    # Alone, where only the consensus reads vectors; and with a captioner of stored features.
    choice = ConsensusOptions(neighbors=3, likelihood=0.0)
    for members, consensus in (([from_pixels], choice), ([from_pixels, att2in2_run], None)):
        run = Run.load(members, consensus=consensus)
        records = run.open_records(str(caption_records))
        by_records = run.captioning.caption_batches(run.record_batches(records, "val"))
        rows = caption_files(members, pictures / "images", tmp_path, consensus=consensus).rows
        found = {row["image_id"]: row["caption"] for row in rows}
        assert by_records == {name: found[name] for name in by_records}
        page = (tmp_path / "index.html").read_text()
        assert ("neighbors" in page) == (consensus is not None)
        assert ", ".join(f"{member.parent.name}/cross_entropy" for member in members) in page


def test_members_of_an_ensemble_see_the_same_pixels(from_pixels: Path, tmp_path: Path) -> None:
    resized = shutil.copytree(from_pixels, tmp_path / "resized")
    saved = json.loads((resized / "config.json").read_text())
    saved["config"]["image"]["resize"] += 1
    (resized / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=r"resized and .*cross_entropy differ in image\.resize"):
        Run.load([from_pixels, resized])


def test_a_builder_makes_what_the_captioner_sees(from_pixels: Path, tmp_path: Path) -> None:
    exported = export_backbone(from_pixels, tmp_path / "own.weights.h5")
    assert exported.flags == (
        "--backbone=MobileNet", f"--weights={exported.file}", "--image_size=32", "--alpha=0.25"
    )  # fmt: skip
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f")
    wanted = Run.load(from_pixels).model.network(pixels, training=False)
    options = {"image_size": 32, "alpha": 0.25}
    found, untrained = (
        build_network(BackboneOptions(weights=weights, **options)).model(pixels)
        for weights in (str(exported.file), "none")
    )
    # Equal up to the order of sums; without the training it would differ.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert not np.allclose(untrained, wanted, rtol=1e-3, atol=1e-6)


def test_only_a_backbone_of_ones_own_can_be_taken_out(
    from_pixels: Path, att2in2_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"has no backbone: .* stored features"):
        export_backbone(att2in2_run, tmp_path / "own.weights.h5")
    with pytest.raises(InputError, match=r"must end in \.weights\.h5"):
        export_backbone(from_pixels, tmp_path / "own.h5")
    assert not list(tmp_path.iterdir())


def test_pixels_may_start_from_a_captioner_of_stored_features(
    att2in2_run: Path, caption_records: Path
) -> None:
    before = Run.load(att2in2_run)
    config = small(caption_records)
    sizes = {"global_size": None, "region_size": 512, "grid_cells": 4}
    captioner = build_model(config, len(before.vocabulary), sizes, None)
    network = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(512, 32, 32)])
    kernel = network.get_weights()[0]
    pixels = PixelCaptioner(
        captioner=captioner,
        network=network,
        preprocess=lambda x: x,
        trained_from="all",
        name="att2in2",
    )
    init_from_run(pixels, network, att2in2_run, {"vocabulary": before.vocabulary.sha256})
    for ours, theirs in zip(captioner.get_weights(), before.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(network.get_weights()[0], kernel)


def test_stored_features_may_start_from_a_captioner_of_pixels(
    from_pixels: Path, caption_records: Path
) -> None:
    before = Run.load(from_pixels)
    sizes = {"global_size": None, "region_size": before.model.network.output_shape[-1]}
    config = small(caption_records, "updown")
    model = build_model(config, len(before.vocabulary), {**sizes, "grid_cells": 1}, None)
    init_from_run(model, None, from_pixels, {"vocabulary": before.vocabulary.sha256})
    theirs = before.model.captioner.get_weights()
    for ours, own in zip(model.get_weights(), theirs, strict=True):
        np.testing.assert_array_equal(ours, own)


def test_rows_of_unit_norm_are_of_pixels_too() -> None:
    config = importlib.import_module("configs.captioners.att2in").get_config("test")
    config.image.update({**BACKBONE, "source": "pixels"})
    config.data.unit_norm = True
    # Signals vanish in a full network with random weights: its maps would be 0.
    network = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(6, 16, 16)])
    model = build_model(config, 9, {}, Network(network, lambda x: x, (2, 2, 6)))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    norms = np.linalg.norm(model.encode({"pixels": tf.constant(pixels)})["rows"], axis=-1)
    np.testing.assert_allclose(norms, np.ones((2, 4)), rtol=1e-5)


def test_the_last_blocks_of_efficientnet_lite_are_trained() -> None:
    config = importlib.import_module("configs.captioners.att2in").get_config("test")
    config.image.update(source="pixels", backbone="EfficientNetLite2", weights="none")
    (read,) = Pixels.candidates(config)
    assert read == Pixels(resize=260, crop=260, interpolation="bicubic")
    config.image.update(crop=32, trained_from="block7a_expand_conv")
    network = open_network(config)
    assert network is not None and network.output_shape == (1, 1, 1280)
    model = build_model(config, 9, {}, network)
    layers = [layer.name for layer in network.model.layers if layer.trainable_weights]
    assert [name.partition("_")[0] for name in layers] == ["block7a"] * 6 + ["top"] * 2
    before = [np.array(v) for v in network.model.non_trainable_variables]
    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)), tf.float32)
    with tf.GradientTape() as tape:
        hidden = model.teacher_forced(
            model.encode({"pixels": pixels}, True), tf.ones((2, 3), tf.int32)
        )
        loss = tf.reduce_mean(model.logits(tf.reshape(hidden, (-1, hidden.shape[-1]))) ** 2)
    found = tape.gradient(loss, network.model.trainable_variables)
    # Signals vanish with random weights, but at least the last kernel receives a gradient.
    assert None not in found and np.any(found[-3])
    for variable, old in zip(network.model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    again = PixelCaptioner.from_config(model.get_config())
    assert again._preprocess is network.preprocess


def test_weights_follow_from_the_seed_but_for_those_of_a_network_without_any(
    caption_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def noting(*arguments: Any) -> None:
        model = build_model(*arguments)
        found.append([part.get_weights() for part in (model.network, model.captioner)])
        raise InputError("that is enough")

    monkeypatch.setattr(experiment, "build_model", noting)
    config = small(caption_records, "fc")
    config.image.update({**BACKBONE, "source": "pixels"})
    for seed in (0, 0, 1):
        config.seed = seed
        with pytest.raises(InputError, match="that is enough"):
            run_captioner(config, tmp_path)
    one, again, other = found
    tf.nest.map_structure(np.testing.assert_array_equal, one, again)
    tf.nest.map_structure(np.testing.assert_array_equal, one[0], other[0])
    assert all((a != b).any() for a, b in zip(one[1], other[1], strict=True) if a.any())
