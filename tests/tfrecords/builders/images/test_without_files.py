"""Records of images whose files are not available: concepts and references only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.tfrecords.builders.images.test_build import make_corpora, parse, reasons
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.inspection import describe_records, split_statistics
from tfrecords.pictures.feature_options import BackboneOptions

TABLE = "image,labels\nstudy/1,dog;person\nstudy/2,Car\nstudy/3,\nstudy/4,dog\n"


def source(path: Path, text: str) -> DetectionSource:
    path.write_text(text)
    return DetectionSource(path=path)


@pytest.fixture
def options(tmp_path: Path) -> ImagesOptions:
    (tmp_path / "captions.csv").write_text("image,caption\nstudy/2,A car\nstudy/3,Nothing\n")
    (tmp_path / "train.txt").write_text("study/1\nstudy/4\n")
    (tmp_path / "val.txt").write_text("study/2\nstudy/3\nstudy/9\n")
    return ImagesOptions(
        folder=tmp_path / "records",
        detections=(source(tmp_path / "labels.csv", TABLE),),
        corpora=make_corpora(tmp_path / "corpora"),
        splits={"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"},
        references=tmp_path / "captions.csv",
        shards=2,
    )


def test_images_of_lists(options: ImagesOptions) -> None:
    records = build_images(options, progress=False)
    assert {"image", "global_feature"}.isdisjoint(records.feature_names)
    assert records.manifest["options"]["store_pixels"] is False
    words = records.vocabulary()
    train, val = parse(records, "train"), parse(records, "val")
    assert {name: words.decode(row["concepts"]) for name, row in (train | val).items()} == {
        "study/1": "dog person", "study/4": "dog", "study/2": "car", "study/3": "", "study/9": "",
    }  # fmt: skip
    np.testing.assert_array_equal(train["study/1"]["boxes"], [[0, 0, 1, 1]] * 2)
    assert train["study/1"]["concept_scores"].tolist() == [1, 1]
    assert val["study/3"]["boxes"].shape == (0, 4)
    assert val["study/2"]["texts"].tolist() == [b"A car"]
    rows = tfds.builder_from_directory(records.folder).as_dataset(split="val")
    assert {row["image_id"].numpy().decode() for row in rows} == set(val)


def test_images_of_the_detections(options: ImagesOptions) -> None:
    records = build_images(
        replace(options, splits={}, reference_splits=("images",)), progress=False
    )
    assert records.splits == ("images",)
    assert set(parse(records, "images")) == {f"study/{number}" for number in (1, 2, 3, 4)}


def test_boxes_stay_as_detected(options: ImagesOptions, tmp_path: Path) -> None:
    found = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [4, 3, 20, 15], "score": 0.5}],
    }
    boxes = source(tmp_path / "d.json", json.dumps(found))
    records = build_images(
        replace(options, detections=(boxes,), splits={}, references=None), progress=False
    )
    np.testing.assert_allclose(parse(records, "images")["a.jpg"]["boxes"], [[0.1, 0.1, 0.6, 0.6]])


def test_training_images_without_concepts_are_skipped(
    options: ImagesOptions, tmp_path: Path
) -> None:
    (tmp_path / "train.txt").write_text("study/1\nstudy/5\n")
    (tmp_path / "val.txt").write_text("study/2\n")
    records = build_images(options, progress=False)
    assert reasons(records) == {"study/5": "no_concept"}
    (tmp_path / "train.txt").write_text("study/3\n")
    with pytest.raises(InputError, match=r"'train': none of its 1 images has a concept"):
        build_images(replace(options, overwrite=True), progress=False)


def test_inspection_has_no_pictures(options: ImagesOptions) -> None:
    records = build_images(options, progress=False)
    assert "pictures" not in dict(describe_records(records))
    assert split_statistics(records, "val").lengths["concepts per image"] == {0: 2, 1: 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": BackboneOptions(weights="none")}, "a backbone and store_grid require image"),
        ({"store_grid": True}, "a backbone and store_grid require image files: give images"),
        ({"splits": {"train": Path("none.txt")}}, r"none\.txt"),
    ],
)
def test_bad_options(options: ImagesOptions, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_images(replace(options, **change), progress=False)


def test_detections_of_other_images(options: ImagesOptions, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("x\n")
    (tmp_path / "val.txt").write_text("y\n")
    with pytest.raises(InputError, match=r"none of the 2 images: they are of \['study/1'"):
        build_images(options, progress=False)
