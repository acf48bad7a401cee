"""Inputs in the run folder of a captioner, in the formats of this and of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from pipelines.inputs.global_vector import GlobalVector, MeanOfRows
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_inputs import (
    FEATURES_FILE,
    TrainedInputs,
    check_same_origin,
    features_file,
)
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions, recorded_backbone

ORIGIN = {"backbone": None, "feature_dtype": "float16", "grid_shape": None}
ROWS = {"regions": [[None, None, 6], "float32"], "region_lengths": [[None], "int32"]}


def run_of(folder: Path, captioner: str, saved: dict[str, Any], **image: Any) -> RunFolder:
    """Returns a run folder without weights."""
    config = {
        "model": {"captioner": captioner},
        "data": {"rows": None, "unit_norm": True, "use_box": False},
        "image": {"source": "features", **image},
    }
    (folder / "config.json").write_text(json.dumps({"stage": "cross_entropy", "config": config}))
    (folder / FEATURES_FILE).write_text(json.dumps({**saved, "records": ORIGIN}, indent=1) + "\n")
    return RunFolder(folder)


def test_inputs_are_those_of_the_training(tmp_path: Path) -> None:
    spec = {"regions": tf.TensorSpec([None, None, 6]), "global": tf.TensorSpec([None, 3])}
    spec["region_lengths"] = tf.TensorSpec([None], tf.int32)
    inputs = InputSpec((Regions(unit_norm=True), GlobalVector()))
    records = Records(folder=tmp_path, kind="captions", name="toy", manifest={"options": ORIGIN})
    text = features_file(inputs, spec, records, tmp_path)
    saved = json.loads(text)
    assert saved["features"] == ["region_feature", "global_feature"]
    trained_on = TrainedInputs.read(run_of(tmp_path, "updown", saved))
    assert (trained_on.inputs, trained_on.signature) == (inputs, spec)
    assert trained_on.reads_backbone
    assert features_file(inputs, spec, records, tmp_path) == text


def test_captioners_of_means_once_read_the_rows(tmp_path: Path) -> None:
    earlier = run_of(tmp_path, "fc", {"inputs": ROWS, "features": ["region_feature"]})
    trained_on = TrainedInputs.read(earlier)
    assert trained_on.inputs.inputs == (MeanOfRows(Regions(unit_norm=True)),)
    assert trained_on.signature == {"global": tf.TensorSpec([None, 6], tf.float32)}
    assert trained_on.inputs.sizes(trained_on.signature) == {"global_size": 6}
    assert not trained_on.reads_backbone
    # A resumed run keeps its file; the file of another model is rejected.
    records = Records(folder=tmp_path, kind="captions", name="toy", manifest={"options": ORIGIN})
    file = (tmp_path / FEATURES_FILE).read_bytes()
    again = features_file(trained_on.inputs, trained_on.signature, records, tmp_path)
    assert again == file
    other = {"global": tf.TensorSpec([None, 7], tf.float32)}
    assert features_file(trained_on.inputs, other, records, tmp_path) != file


def test_pixels_are_read_as_they_are_captioned(tmp_path: Path) -> None:
    saved = {"inputs": {"pixels": [[None, 8, 8, 3], "float32"]}, "features": []}
    image = {
        "source": "pixels",
        "backbone": "MobileNet",
        "resize": 9,
        "crop": 8,
        "mirror": True,
        "least_area": 0.5,
    }
    trained_on = TrainedInputs.read(run_of(tmp_path, "lstm", saved, **image))
    assert trained_on.inputs.inputs == (Pixels(resize=9, crop=8),)


def test_the_origin_of_regions_counts_where_regions_are_read() -> None:
    network = {"name": "ResNet101", "image_size": 448}
    pooled = {**network, "regions": {"most": 36, "min_scores": [0.3]}}
    fewer = {**network, "regions": {"most": 20, "min_scores": [0.3]}}
    check_same_origin("a", pooled, "b", dict(pooled), regions=True)
    for one, other in ((pooled, fewer), (pooled, network), (network, pooled), (pooled, None)):
        with pytest.raises(InputError, match=r"computed in two ways: a with .*regions"):
            check_same_origin("a", one, "b", other, regions=True)
    # Vectors and grids do not depend on regions in the same records.
    for other in (fewer, network):
        check_same_origin("a", pooled, "b", other)
    with pytest.raises(InputError, match="a with image_size 448, b with image_size 224"):
        check_same_origin("a", pooled, "b", {**network, "image_size": 224})


def test_averaged_mirror_images_are_another_way_to_make_features() -> None:
    # If it is off, as in all records of earlier versions, the entry is missing.
    plain, averaged = (
        recorded_backbone(BackboneOptions(), FeatureOptions(average_mirrored=value))["backbone"]
        for value in (False, True)
    )
    assert "average_mirrored" not in plain
    with pytest.raises(InputError, match=r"a with average_mirrored False, b with .* True"):
        check_same_origin("a", plain, "b", averaged)
    check_same_origin("a", averaged, "b", dict(averaged))
