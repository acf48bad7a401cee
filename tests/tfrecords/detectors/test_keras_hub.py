"""KerasHub object detectors out of preset folders: small, random, without a network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_toys import bright_image, options

from tfrecords.core.errors import InputError
from tfrecords.detectors.keras_hub import KerasHubDetector, processed_part
from tfrecords.detectors.opening import open_detector
from tfrecords.pictures.boxes import Detections

keras_hub = pytest.importorskip("keras_hub", reason="the extra [keras_hub] is not installed")

SIZE = (64, 64)
IMAGES = [bright_image(40, 60, (5, 10, 30, 30)), bright_image(90, 30, (5, 1, 80, 15))]


def save_retinanet(folder: Path) -> Path:
    keras.utils.set_random_seed(3)
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(*SIZE, 3),
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        keras_hub.models.RetinaNetBackbone(encoder, min_level=4, max_level=4, use_p5=False),
        num_classes=3,
        bounding_box_format="xyxy",
        pre_logits_num_conv_layers=1,
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(
            keras_hub.layers.RetinaNetImageConverter(
                image_size=SIZE, scale=1 / 255, crop_to_aspect_ratio=False
            )
        ),
    )
    # Random heads would put every box far outside of the image.
    for variable in detector.box_head.trainable_variables:
        variable.assign(variable * 0.1)
    detector.save_to_preset(str(folder))
    return folder


def save_d_fine(folder: Path) -> Path:
    keras.utils.set_random_seed(3)
    stages = ["stage3", "stage4"]
    encoder = keras_hub.models.HGNetV2Backbone(
        stem_channels=[3, 4, 4],
        stackwise_stage_filters=[
            [4, 4, 8, 1, 1, 3],
            [8, 4, 8, 1, 1, 3],
            [8, 4, 16, 1, 1, 3],
            [16, 4, 16, 1, 1, 3],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False] * 4,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        embedding_size=4,
        use_learnable_affine_block=True,
        hidden_act="relu",
        image_shape=(*SIZE, 3),
        out_features=stages,
    )
    backbone = keras_hub.models.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[8, 8],
        encoder_hidden_dim=8,
        num_denoising=0,
        num_labels=3,
        hidden_dim=8,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=SIZE,
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[16, 16],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=8,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.34,
        eval_idx=-1,
        num_decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=1,
        out_features=stages,
        image_shape=(*SIZE, 3),
    )
    converter = keras_hub.layers.DFineImageConverter(
        image_size=SIZE, scale=1 / 255, crop_to_aspect_ratio=False
    )
    keras_hub.models.DFineObjectDetector(
        backbone,
        num_classes=3,
        preprocessor=keras_hub.models.DFineObjectDetectorPreprocessor(converter),
    ).save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="module")
def retinanet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_retinanet(tmp_path_factory.mktemp("presets") / "retinanet")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """As many classes as the networks have outputs, with gaps between their ids."""
    path = tmp_path / "three.csv"
    path.write_text("3,dog\n10,cat\n20,lamp\n")
    return path


def run_uncompiled(detector: KerasHubDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes most of the time of these tests; some do it once, the others never."""
    monkeypatch.setattr(detector, "_run", detector._forward)


def detect(folder: Path, labels: Path, **changes: Any) -> list[Detections]:
    found = open_detector(options("keras_hub", folder, labels, **changes)).detect(IMAGES)
    assert all(isinstance(item, Detections) for item in found)
    return found  # type: ignore[return-value]


def test_retinanet(retinanet: Path, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = detect(retinanet, three, max_detections=20)
    for objects in found:
        assert 2 < len(objects.scores) <= 20
        assert set(objects.class_ids.tolist()) <= {3, 10, 20}
        assert set(objects.class_names) <= {"dog", "cat", "lamp"}
        assert (np.diff(objects.scores) <= 0).all()
        assert ((objects.boxes >= 0) & (objects.boxes <= 1)).all()
    threshold = float(np.median(np.concatenate([objects.scores for objects in found])))
    detector = KerasHubDetector(
        keras_hub.models.ObjectDetector.from_preset(str(retinanet)),
        options("keras_hub", retinanet, three, min_score=threshold, batch_size=1),
    )
    run_uncompiled(detector, monkeypatch)
    certain = detector.detect(IMAGES)
    for some, every in zip(certain, found, strict=True):
        assert isinstance(some, Detections)
        kept = every.scores > threshold + 1e-4
        np.testing.assert_allclose(some.boxes[: kept.sum()], every.boxes[kept], atol=1e-4)
        assert some.scores.min() >= threshold


def test_boxes_are_those_of_the_model(
    retinanet: Path, three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes equal those of KerasHub's `predict` for an image of the network's size."""
    model = keras_hub.models.ObjectDetector.from_preset(str(retinanet))
    image = bright_image(*SIZE, (5, 10, 30, 30))
    detector = KerasHubDetector(model, options("keras_hub", retinanet, three, batch_size=1))
    run_uncompiled(detector, monkeypatch)
    (ours,) = detector.detect([image])
    theirs = model.predict(image[None], verbose=0)
    boxes = theirs["boxes"][0, : theirs["num_detections"][0]][:, [1, 0, 3, 2]] / 64
    boxes = np.clip(boxes, 0, 1)
    boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    assert isinstance(ours, Detections)
    assert len(boxes) > 2
    np.testing.assert_allclose(ours.boxes, boxes, atol=1e-5)


def test_d_fine(tmp_path: Path, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_d_fine(tmp_path / "d_fine")
    model = keras_hub.models.ObjectDetector.from_preset(str(folder))
    detector = KerasHubDetector(model, options("keras_hub", folder, three, batch_size=2))
    run_uncompiled(detector, monkeypatch)
    for objects, image in zip(detector.detect(IMAGES), IMAGES, strict=True):
        center_and_size = model(model.preprocessor.image_converter(image[None]))["pred_boxes"][0]
        center, size = np.split(np.asarray(center_and_size), 2, axis=1)
        corners = np.clip(np.concatenate([center - size / 2, center + size / 2], 1), 0, 1)
        assert isinstance(objects, Detections)
        assert len(objects.scores) > 2
        for box in objects.boxes[:, [1, 0, 3, 2]]:
            assert np.abs(corners - box).max(axis=1).min() < 1e-3


class FoundBefore:
    """A network of D-FINE's outputs that always finds the same two objects."""

    num_classes = 3

    def __init__(self, bounding_box_format: str) -> None:
        self.bounding_box_format = bounding_box_format
        self.preprocessor = SimpleNamespace(
            image_converter=keras_hub.layers.ImageConverter(
                image_size=(32, 64), crop_to_aspect_ratio=False
            )
        )
        self.prediction_decoder = keras_hub.layers.NonMaxSuppression(
            bounding_box_format=bounding_box_format, from_logits=True
        )

    def __call__(self, images: Any, training: bool) -> dict[str, Any]:
        rows = (len(images), 1, 1)
        boxes = [[[0.5, 0.25, 0.2, 0.5], [0.75, 0.8, 0.5, 0.1]]]
        logits = [[[-3.0, 2.0, -4.0], [4.0, -5.0, -6.0]]]
        return {"pred_boxes": tf.tile(boxes, rows), "logits": tf.tile(logits, rows)}


@pytest.mark.parametrize("bounding_box_format", ["yxyx", "xyxy"])
def test_boxes_of_d_fine_in_any_format(bounding_box_format: str, three: Path) -> None:
    detector = KerasHubDetector(
        FoundBefore(bounding_box_format), options("keras_hub", "p", three, batch_size=1)
    )
    (found,) = detector.detect(IMAGES[:1])
    assert isinstance(found, Detections)
    assert found.class_names == ("dog", "cat")
    np.testing.assert_allclose(
        found.boxes, [[0.75, 0.5, 0.85, 1.0], [0.0, 0.4, 0.5, 0.6]], atol=1e-6
    )
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-4.0, -2.0])), rtol=1e-5)


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(60, 120), (121, 60), (64, 64), (1, 77), (33, 500)])
def test_boxes_come_back_from_resized_images(mode: str, size: tuple[int, int]) -> None:
    """A ramp of pixel positions shows which part of the image the network saw."""
    converter = keras_hub.layers.ImageConverter(
        image_size=(48, 64), crop_to_aspect_ratio=mode == "crop", pad_to_aspect_ratio=mode == "pad"
    )
    height, width = size
    ramp = np.zeros((height, width, 3), np.float32)
    ramp[..., 0] = np.arange(height)[:, None] + 0.5
    ramp[..., 1] = np.arange(width) + 0.5
    seen = np.asarray(converter(ramp[None]))[0]
    view = processed_part(height, width, converter)
    rows = view.top + (np.arange(48) + 0.5) / 48 * view.height
    columns = view.left + (np.arange(64) + 0.5) / 64 * view.width
    # Away from borders, and from the edge where resizing repeats the last pixel.
    inner_rows = (rows > max(view.top, 0) + 1) & (rows < min(view.top + view.height, height) - 1)
    inner_columns = (columns > max(view.left, 0) + 1) & (
        columns < min(view.left + view.width, width) - 1
    )
    inner = np.ix_(inner_rows, inner_columns)
    if height > 4:
        assert inner_rows.sum() > 2 and inner_columns.sum() > 2
    np.testing.assert_allclose(seen[..., 0][inner], (rows[:, None] + 0 * columns)[inner], atol=0.02)
    np.testing.assert_allclose(seen[..., 1][inner], (0 * rows[:, None] + columns)[inner], atol=0.02)


def test_label_maps(tmp_path: Path, three: Path) -> None:
    """COCO's 80 classes have ids up to 90: some networks have 80 outputs, others 91."""
    direct = tmp_path / "direct.csv"
    direct.write_text("0,dog\n2,lamp\n")
    found = KerasHubDetector(FoundBefore("yxyx"), options("keras_hub", "p", direct)).detect(IMAGES)
    assert [(o.class_ids.tolist(), dict(o.dropped)) for o in found] == [([0], {"box_class": 1})] * 2  # type: ignore[union-attr]
    other = tmp_path / "other.txt"
    other.write_text("a\nb\nc\nd\n")
    with pytest.raises(InputError, match=r"has 3 classes, other\.txt 4 with ids up to 4"):
        KerasHubDetector(FoundBefore("yxyx"), options("keras_hub", "p", other))


def test_presets_that_are_none(retinanet: Path, tmp_path: Path, three: Path) -> None:
    with pytest.raises(InputError, match="KerasHub cannot open the object detector no_such_preset"):
        detect(Path("no_such_preset"), three)
    headless = shutil.copytree(retinanet, tmp_path / "headless")
    (headless / "task.weights.h5").unlink()
    with pytest.raises(InputError, match=r"no task\.weights\.h5"):
        detect(headless, three)
    cut = shutil.copytree(retinanet, tmp_path / "cut")
    (cut / "model.weights.h5").write_bytes(b"HDF")
    with pytest.raises(InputError, match="cannot open the object detector"):
        detect(cut, three)


def test_a_preset_without_image_size(three: Path) -> None:
    model = SimpleNamespace(preprocessor=None)
    with pytest.raises(InputError, match="has no image size"):
        KerasHubDetector(model, options("keras_hub", "p", three))


def test_without_keras_hub(monkeypatch: pytest.MonkeyPatch, three: Path) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"pip install 'r2m\[keras_hub\]'"):
        detect(Path("dfine_nano_coco"), three)
