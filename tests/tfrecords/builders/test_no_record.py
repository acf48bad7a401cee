"""Builds in which nothing matches say so, with names of both sides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.builders.features.build import FeatureRecordsOptions, build_features
from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.feature_options import BackboneOptions


@pytest.fixture
def captions(tmp_path: Path) -> CaptionsOptions:
    rows = [
        {"filename": f"wanted_{i}.jpg", "imgid": i, "split": "train", "sentences": [{"raw": "dog"}]}
        for i in range(3)
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": rows}))
    return CaptionsOptions(
        folder=tmp_path / "records", captions=(PairedSource(str(path)),), min_count=1
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("held_a.png", "held_b.png", "held_c.png"):
        Image.new("RGB", (20, 10)).save(folder / name)
    return folder


@pytest.fixture
def features(tmp_path: Path) -> str:
    folder = tmp_path / "features"
    folder.mkdir()
    for name in ("held_a", "held_b", "held_c"):
        np.save(folder / f"{name}.npy", np.ones((2, 6)))
    return f"folders:{folder}"


def test_captions_and_features(captions: CaptionsOptions, features: str):
    message = (
        r"split 'train' of .* would be empty; left out: 3 no_features\. "
        r"wanted_\d\.jpg: no_features \(the features contain no image named '\d' or "
        r"'wanted_\d\.jpg'\); wanted_\d\.jpg: .*"
        r"The feature store contains 3 images \('held_a', 'held_b', \.\.\.\)"
    )
    options = CaptionsOptions(**{**captions.__dict__, "store": open_feature_store(features)})
    with pytest.raises(InputError, match=message):
        build_captions(options, progress=False)


def test_captions_and_rows_without_names(captions: CaptionsOptions, tmp_path: Path):
    """Numbers of images are numbers of rows only where they are the same ones."""
    for count in (3, 4):
        np.save(tmp_path / f"{count}.npy", np.ones((count, 2, 6)))
    options = {**captions.__dict__, "store": open_feature_store(str(tmp_path / "3.npy"))}
    assert build_captions(CaptionsOptions(**options), progress=False).count("train") == 3
    options["store"] = open_feature_store(str(tmp_path / "4.npy"))
    message = (
        r"4\.npy has 4 rows without names, but the ids of the 3 images \('0', '1', \.\.\.\) "
        r"are not row numbers, 0 to 3: .* npy:4\.npy,ids=LIST"
    )
    with pytest.raises(InputError, match=message):
        build_captions(CaptionsOptions(**options), progress=False)


def test_captions_and_pictures(captions: CaptionsOptions, pictures: Path):
    message = (
        r"left out: 3 missing\. wanted_\d\.jpg: missing \(no such file in pictures\); wanted_.*"
        r"pictures contains 3 entries \('held_a\.png', 'held_b\.png', \.\.\.\)"
    )
    options = CaptionsOptions(**{**captions.__dict__, "images": (pictures,)})
    with pytest.raises(InputError, match=message):
        build_captions(options, progress=False)


def test_features_of_listed_images(tmp_path: Path, pictures: Path, features: str):
    (tmp_path / "val.txt").write_text("wanted_1.png\nwanted_2.png\n")
    splits = {"val": tmp_path / "val.txt"}
    network = BackboneOptions(name="MobileNet", weights="none", image_size=32, alpha=0.25)
    for more, held in (
        (
            {"store": open_feature_store(features)},
            r"feature store contains 3 images \('held_a', 'held_b', ",
        ),
        (
            {"images": pictures, "backbone": network},
            r"pictures contains 3 entries \('held_a\.png', ",
        ),
    ):
        message = r"be empty; left out: 2 missing\. wanted_1\.png: .*; wanted_2\.png: .*"
        options = FeatureRecordsOptions(folder=tmp_path / "records", splits=splits, **more)
        with pytest.raises(InputError, match=message + held):
            build_features(options, progress=False)


def test_a_store_without_a_readable_name(tmp_path: Path):
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / os.fsdecode(b"\xff.npy"), np.ones((2, 6)))
    store = open_feature_store(f"folders:{tmp_path / 'features'}")
    message = (
        r"'images' .* would be empty; left out: 1 undecodable\. .* "
        "The feature store contains 1 image"
    )
    with pytest.raises(InputError, match=message):
        build_features(FeatureRecordsOptions(folder=tmp_path / "r", store=store), progress=False)


def test_detections_of_listed_images(tmp_path: Path):
    content = {
        "images": [{"id": i, "file_name": f"held_{i}.jpg"} for i in range(3)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 1, 5, 5]} for i in range(3)],
    }
    for image in content["images"]:
        image |= {"width": 20, "height": 10}
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / "train.txt").write_text("held_0.jpg\n")
    (tmp_path / "val.txt").write_text("wanted_1.jpg\nwanted_2.jpg\n")
    options = {"folder": tmp_path / "records", "detector": f"coco:{tmp_path / 'results.json'}"}
    splits = {split: tmp_path / f"{split}.txt" for split in ("train", "val")}
    message = r"'val' .* would be empty; .* wanted_1\.jpg: missing .*results\.json also contains"
    with pytest.raises(InputError, match=message + r" \['held_1\.jpg', 'held_2\.jpg'\]"):
        build_detections(DetectionsOptions(splits=splits, **options), progress=False)
    del splits["train"]
    message = (
        r"has images \['held_\d\.jpg', 'held_2\.jpg'\], the lists have \['wanted_1\.jpg', 'wanted_2"
    )
    with pytest.raises(InputError, match=message):
        build_detections(DetectionsOptions(splits=splits, **options), progress=False)


@pytest.mark.parametrize("command", ["captions", "features"])
def test_an_image_with_two_entries_ends_the_build(
    command: str, captions: CaptionsOptions, tmp_path: Path
):
    folder = tmp_path / "features"
    folder.mkdir()
    for name in ("wanted_0", "2", "02", "1"):
        np.save(folder / f"{name}.npy", np.ones((2, 6)))
    (tmp_path / "val.txt").write_text("2.jpg\n")
    store = open_feature_store(f"folders:{folder}")
    message = r"features: image '2.*' may be any of '02', '2': .*remove or rename all but one"
    with pytest.raises(InputError, match=message):
        if command == "captions":
            build_captions(CaptionsOptions(**{**captions.__dict__, "store": store}), progress=False)
        else:
            splits = {"val": tmp_path / "val.txt"}
            options = FeatureRecordsOptions(folder=tmp_path / "records", store=store, splits=splits)
            build_features(options, progress=False)
