"""Regions of detected boxes: image files give the same inputs as records of the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import caption_batches
from pipelines.captions import open_captions
from pipelines.inputs.boxes import Boxes
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_image_inputs import captioner_image_reader
from r2m.inference.captioner_inputs import FEATURES_FILE, TrainedInputs, features_file
from r2m.inference.loaded_captioner import LoadedCaptioner
from tests.tfrecords.formats.detections.test_regions import detections_file
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.features.build import FeatureRecordsOptions, build_features
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.detections.regions import RegionOptions
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions
from tfrecords.pictures.named_images import image_files

NET = BackboneOptions(name="VGG16", weights="none", image_size=64, batch_size=2)
REGIONS = Regions(use_box=True)
INPUTS = InputSpec((REGIONS, Boxes(REGIONS)))
FOUND = {
    "a.png": [([0.0, 0, 20, 20], 0.9), ([10.0, 5, 30, 10], 0.7), ([0.0, 0, 4, 4], 0.4)],
    "b.png": [([20.0, 10, 20, 10], 0.8)],
    "c.png": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images `a.png`, `b.png` and `c.png`, their captions and detections, and records of them."""
    folder = tmp_path_factory.mktemp("regions")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in FOUND:
        Image.fromarray(rng.integers(0, 255, (20, 40, 3), np.uint8)).save(folder / "images" / name)
    detections_file(folder, FOUND)
    lines = [f"{name}#0\ta dog" for name in FOUND]
    (folder / "captions.token.txt").write_text("\n".join(lines) + "\n")
    (folder / "train.txt").write_text("\n".join(FOUND) + "\n")
    build_captions(options(folder), progress=False)
    return folder


def options(folder: Path, /, **changes: Any) -> CaptionsOptions:
    return replace(
        CaptionsOptions(
            folder=folder / "captions",
            captions=(PairedSource.parse(str(folder / "captions.token.txt")),),
            splits={"train": folder / "train.txt"},
            images=(folder / "images",),
            backbone=NET,
            regions=RegionOptions(detections=(source(folder),), most=2),
            min_count=1,
            shards=1,
        ),
        **changes,
    )


def source(folder: Path) -> DetectionSource:
    return DetectionSource.parse(str(folder / "boxes.json"))


def trained_on(folder: Path, **changes: Any) -> TrainedInputs:
    """The inputs of a captioner of regions and boxes that was trained on the records."""
    recorded = open_captions(str(folder / "captions")).manifest["options"]
    own = TrainedInputs(
        folder / "run", INPUTS, {}, recorded["backbone"], "float16", None, recorded["regions"]
    )
    return own._replace(**changes)


def record_batch(folder: Path, records: str = "captions") -> dict[str, tf.Tensor]:
    opened = open_captions(str(folder / records))
    (batch,) = caption_batches.image_batches(opened, "train", INPUTS, batch_size=8)
    order = np.argsort(batch["image_id"].numpy())
    return {name: tf.gather(tensor, order) for name, tensor in batch.items()}


def test_records_hold_regions_of_detected_boxes(folder: Path) -> None:
    batch = record_batch(folder)
    # The whole image, and at most the two most certain boxes.
    assert batch["region_lengths"].numpy().tolist() == [3, 2, 1]
    assert batch["regions"].shape == (3, 3, 512 + 5)
    np.testing.assert_allclose(batch["boxes"][0, 1], [0, 0, 1, 0.5])
    np.testing.assert_allclose(batch["boxes"][1], [[0, 0, 1, 1], [0.5, 0.5, 1, 1], [0] * 4])
    manifest = open_captions(str(folder / "captions")).manifest
    assert manifest["options"]["regions"][0]["file"] == "boxes.json"
    assert "boxes.json" in {Path(file["path"]).name for file in manifest["sources"]}


def test_image_files_give_the_regions_of_records(folder: Path) -> None:
    files = image_files(folder / "images").files
    (folder / "images" / "broken.png").write_bytes(b"no image")
    own = trained_on(folder)
    reader = captioner_image_reader([own], INPUTS, files, [str(folder / "boxes.json")], None)
    read = reader(files)
    expected = record_batch(folder)
    assert read.inputs.keys() == {"regions", "region_lengths", "boxes"}
    for name, tensor in read.inputs.items():
        np.testing.assert_allclose(tensor, expected[name], rtol=2e-3, atol=1e-4)
    # An unreadable image keeps its row, with one region.
    files = image_files(folder / "images").files
    broken = reader([file for file in files if file.name in ("b.png", "broken.png")])
    assert broken.faults[0] is None and broken.faults[1] is not None
    assert broken.inputs["region_lengths"].numpy().tolist() == [2, 1]
    (folder / "images" / "broken.png").unlink()


def test_detections_are_needed_by_captioners_of_regions_only(folder: Path) -> None:
    files = image_files(folder / "images").files
    detections = [str(folder / "boxes.json")]
    own = trained_on(folder)
    with pytest.raises(InputError, match=r"regions of detected boxes: give .* with --detections"):
        captioner_image_reader([own], INPUTS, files, [], None)
    elsewhere = trained_on(folder, backbone={**NET.__dict__, "short_side": None})
    with pytest.raises(InputError, match="features that R2M did not compute"):
        captioner_image_reader([elsewhere], INPUTS, files, detections, None)
    assert own.reads_backbone and not elsewhere.reads_backbone


def test_the_run_folder_tells_which_detections_there_were(folder: Path, tmp_path: Path) -> None:
    records = open_captions(str(folder / "captions"))
    saved = features_file(INPUTS, {}, records, tmp_path).decode()
    assert '"min_score": 0.3' in saved and '"most": 2' in saved
    assert FEATURES_FILE == "image_features.json"


def test_features_records_hold_the_same_regions(folder: Path) -> None:
    view = FeatureOptions(dtype="float16")
    regions = RegionOptions(detections=(source(folder),), most=2)
    build_features(
        FeatureRecordsOptions(
            folder=folder / "features",
            images=folder / "images",
            backbone=NET,
            features=view,
            regions=regions,
            shards=1,
        ),
        progress=False,
    )
    store = open_feature_store(f"records:{folder / 'features'}")
    assert store.shapes["region_feature"] == (None, 512) and store.has_boxes
    stored = options(folder, folder=folder / "stored", backbone=None, regions=None, store=store)
    build_captions(stored, progress=False)
    found, expected = record_batch(folder, "stored"), record_batch(folder)
    for name in ("boxes", "region_lengths"):
        np.testing.assert_array_equal(found[name], expected[name])
    # The batches of the two builds differ, hence the order of sums: up to one unit of float16.
    np.testing.assert_allclose(found["regions"], expected["regions"], rtol=2**-10)


def test_pooled_regions_are_no_regions_of_elsewhere(folder: Path) -> None:
    records = open_captions(str(folder / "captions"))

    def evaluated(own: TrainedInputs) -> LoadedCaptioner:
        parts: Any = {"folders": (), "model": None, "vocabulary": None, "signature": {}}
        return LoadedCaptioner(trained_on=(own,), inputs=INPUTS, **parts)

    evaluated(trained_on(folder)).record_batches(records, "train")
    with pytest.raises(
        InputError, match=r"computed in two ways: .*with name 'not computed by R2M'"
    ):
        evaluated(trained_on(folder, backbone=None)).record_batches(records, "train")


def test_runs_say_whether_they_need_detections(folder: Path) -> None:
    assert trained_on(folder).needs_detections
    assert not trained_on(folder, backbone=None).needs_detections
