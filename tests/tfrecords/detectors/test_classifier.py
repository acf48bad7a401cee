"""Classifiers as detectors: labels of whole images, from the probabilities of a network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_toys import bright_image, options

from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.core.errors import InputError
from tfrecords.detectors import classifier
from tfrecords.detectors.opening import open_detector
from tfrecords.formats.detections.reading import DetectionSource, read_detections
from tfrecords.pictures.backbones import Network
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.feature_options import BackboneOptions

IMAGES = [bright_image(40, 60, (0, 0, 40, 60)), bright_image(9, 5, (0, 0, 0, 0))] * 2


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a network whose first class is white, the second black, and the third neither."""
    dense = keras.layers.Dense(3, "softmax")
    network = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), dense]
    )
    kernel = np.tile([[1.0, -1.0, 0.0]], (3, 1))
    dense.set_weights([kernel, np.zeros(3)])

    def build(asked: BackboneOptions) -> Network:
        assert (asked.name, asked.layer) == ("EfficientNetLite0", "predictions")
        assert asked.image_size == 224 and asked.interpolation == "bicubic"
        return Network(network, lambda pixels: pixels / 127.5 - 1.0, (3,))

    monkeypatch.setattr(classifier, "build_network", build)
    # The last one opened is kept.
    open_detector.cache_clear()
    path = tmp_path / "labels.txt"
    path.write_text("white\nblack\ngray\n")
    return path


def test_labels_are_those_of_the_whole_image(labels: Path) -> None:
    found = open_detector(
        options("classifier", "EfficientNetLite0", labels, batch_size=3, max_detections=2)
    ).detect(IMAGES)
    expected = tf.nn.softmax([3.0, 0.0, -3.0]).numpy()[:2]
    for objects, name in zip(found, ("white", "black") * 2, strict=True):
        assert isinstance(objects, Detections)
        assert objects.class_names == (name, "gray")
        assert objects.boxes.tolist() == [[0, 0, 1, 1]] * 2
        np.testing.assert_allclose(objects.scores, expected, rtol=1e-5)


def test_records_of_labels_are_read_as_tags(labels: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "white.png").write_bytes(tf.io.encode_png(IMAGES[0]).numpy())
    records = build_detections(
        DetectionsOptions(
            folder=tmp_path / "tags", detector="classifier:EfficientNetLite0", images=images,
            label_map=labels, shards=1,
        ),
        progress=False,
    )  # fmt: skip
    assert records.manifest["options"]["model"] == "EfficientNetLite0"
    found = read_detections([DetectionSource.parse(str(records.folder))])["white.png"]
    assert found.is_tag.tolist() == [True] * 3


def test_other_label_maps_are_refused(labels: Path) -> None:
    labels.write_text("white\nblack\n")
    with pytest.raises(InputError, match=r"has 2 classes, but EfficientNetLite0 outputs \(3,\)"):
        open_detector(options("classifier", "EfficientNetLite0", labels))
