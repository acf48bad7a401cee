"""Records as a source, and sources of several kinds together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detection_files import GOOD, ROWS, annotation, coco, read, read_json, write_csv, write_hdf5

from tfrecords.builders.detections.shard_jobs import (
    EncodedShardJob,
    encode_detections,
    record_features,
)
from tfrecords.core.errors import InputError
from tfrecords.core.writer import write_dataset
from tfrecords.formats.detections.reading import (
    DetectionSource,
    kind_of,
    parse_files,
    read_detections,
)
from tfrecords.pictures.boxes import ImageBoxes


def write_records(folder: Path, images: list[ImageBoxes]) -> Path:
    records = tuple(encode_detections(i.name, i.height, i.width, i.found) for i in images)
    write_dataset(
        folder=folder,
        kind="detections",
        name="d",
        splits={"train": [EncodedShardJob(records[::2])], "val": [EncodedShardJob(records[1::2])]},
        features=record_features,
        options={},
        sources=[],
        progress=False,
    )
    return folder


def test_records_give_back_what_was_written(tmp_path: Path) -> None:
    images = coco([])["images"]
    images += [{**images[0], "id": i, "file_name": f"{i}.jpg"} for i in (2, 3)]
    data = coco([annotation(), annotation(image_id=3), annotation(score=0.25)], images=images)
    written = read_json(tmp_path, data)
    found = {image.name: image for image in read(write_records(tmp_path / "records", written))}
    assert set(found) == {"a.jpg", "2.jpg", "3.jpg"}
    for image in written:
        again = found[image.name]
        assert (again.height, again.width) == (100, 200)
        np.testing.assert_array_equal(again.found.boxes, image.found.boxes)
        np.testing.assert_array_equal(again.found.scores, image.found.scores)
        np.testing.assert_array_equal(again.found.class_ids, image.found.class_ids)
        assert again.found.class_names == image.found.class_names


def test_records_of_boxes_in_the_wrong_format(tmp_path: Path) -> None:
    rows = [annotation(bbox=[0.1, 0.2, 0.3 + 0.1 * n, 0.4]) for n in range(2)]
    images = read_json(tmp_path, coco(rows)) * 2  # too few boxes for an error
    with pytest.raises(InputError, match="all of its 4 boxes lie in the first pixels"):
        read(write_records(tmp_path / "records", images))


def test_damaged_records(tmp_path: Path) -> None:
    folder = write_records(tmp_path / "records", read_json(tmp_path, coco([annotation()])) * 2)
    shard = folder / "d-train.tfrecord-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[30] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"the train records of .* are damaged"):
        read(folder)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read(tmp_path)


def test_images_are_found_with_and_without_suffix(tmp_path: Path, labels: Path) -> None:
    path = write_csv(tmp_path / "b.csv", *ROWS)
    source = DetectionSource(path=path, companion=labels)
    assert set(read_detections([source])) == {"a1", "b2"}
    assert set(read_detections([source], names=["a1.jpg", "c.png"])) == {"a1.jpg"}
    with pytest.raises(InputError, match=r"none of the 1 images: they are of \['a1', 'b2'\]"):
        read_detections([source], names=["c.jpg"])
    with pytest.raises(InputError, match=r"image 'a1' may be any of 'a1\.jpg', 'a1\.png'"):
        read_detections([source], names=["a1.jpg", "a1.png"])


def test_sources_of_several_kinds_merge(tmp_path: Path, labels: Path) -> None:
    read_json(
        tmp_path, coco([annotation()], images=[{**coco([])["images"][0], "file_name": "a1.jpg"}])
    )
    sources = [
        DetectionSource(path=write_csv(tmp_path / "b.csv", *ROWS), companion=labels),
        DetectionSource(path=tmp_path / "d.json"),
        DetectionSource(path=write_hdf5(tmp_path / "o.h5", {"a1": GOOD}), companion=labels),
    ]
    found = read_detections(sources, names=["a1.jpg"])["a1.jpg"]
    assert found.sizes == {0: (0, 0), 1: (100, 200), 2: (0, 0)}
    assert found.class_names == ("Dog", "Person", "dog", "Dog", "Sports ball")
    assert found.source_index.tolist() == [0, 0, 1, 2, 2]
    assert not found.is_tag.any()


def test_kinds_of_files(tmp_path: Path) -> None:
    assert [kind_of(Path(p)) for p in ("a.json", "a.tsv", "a.h5", "a.hdf5")] == [
        *("coco", "labels", "hdf5", "hdf5")
    ]
    assert kind_of(write_csv(tmp_path / "a.CSV")) == "open_images"
    assert kind_of(write_csv(tmp_path / "a.CSV", header="image,labels")) == "labels"
    assert kind_of(tmp_path) == "records"
    (tmp_path / "a.xml").write_text("")
    with pytest.raises(InputError, match=r"expected \.json, \.csv"):
        read(tmp_path / "a.xml")
    (tmp_path / "a+b.json").write_text("")
    assert parse_files(str(tmp_path / "a+b.json")) == (tmp_path / "a+b.json", None)
    assert parse_files("a.json+b.json") == (Path("a.json"), Path("b.json"))
    source = DetectionSource.parse("boxes.csv+labels.csv,0.1,2")
    assert (source.path, source.companion) == (Path("boxes.csv"), Path("labels.csv"))
    assert (source.min_score, source.weight) == (0.1, 2.0)
    with pytest.raises(InputError, match="FILE"):
        DetectionSource.parse("a.json,nan")
