"""`detections` records: detected here with a toy graph, and taken over from files."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from forked_processes import run_forked
from PIL import Image

from tests.tfrecords.detectors.detector_toys import DROPPED, bright_image, write_frozen_graph
from tests.tfrecords.formats.detections.detection_files import (
    GOOD,
    ROWS,
    annotation,
    coco,
    write_csv,
    write_hdf5,
)
from tfrecords.builders.detections import shard_jobs as detection_shards
from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, open_records
from tfrecords.detectors.options import DetectorOptions
from tfrecords.formats.detections.reading import DetectionSource, read_boxes, read_detections
from tfrecords.pictures.boxes import ImageBoxes
from tfrecords.pictures.image_files import ImageFolder

NAMES = [f"{letter}.png" for letter in "abcdefg"]


def encode(pixels: np.ndarray, form: str = "PNG", mode: str = "", **options: Any) -> bytes:
    stream, image = io.BytesIO(), Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture
def options(tmp_path: Path, label_map: Path) -> DetectionsOptions:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        size = (20, 40) if number % 2 else (30, 30)
        (folder / name).write_bytes(encode(bright_image(*size, (number, number, 15, 20))))
    model = write_frozen_graph(tmp_path / "model.pb", batch=None)
    return DetectionsOptions(
        folder=tmp_path / "records",
        detector=f"frozen_graph:{model}",
        images=folder,
        label_map=label_map,
        shards=3,
    )


def build(options: DetectionsOptions) -> Records:
    return build_detections(options, progress=False)


def images_of(records: Records) -> dict[str, ImageBoxes]:
    return {image.name: image for image in read_boxes(records.folder, None)}


def counts(records: Records) -> dict[str, int]:
    found: dict[str, int] = records.manifest["skipped"]["counts"]
    return found


def shard_sums(records: Records) -> list[str]:
    splits = records.manifest["splits"].values()
    return [shard["sha256"] for split in splits for shard in split["shards"]]


def test_every_image_of_a_folder(options: DetectionsOptions) -> None:
    records = build(options)
    assert (records.kind, records.splits, records.count("images")) == ("detections", ("images",), 7)
    images = images_of(records)
    assert list(images) == ["a.png", "d.png", "g.png", "b.png", "e.png", "c.png", "f.png"]
    image = images["b.png"]
    assert (image.height, image.width) == (20, 40)
    np.testing.assert_allclose(image.found.boxes[1], [1 / 20, 1 / 40, 15 / 20, 20 / 40])
    assert image.found.class_names == ("cat", "lamp")
    assert image.found.scores.tolist() == [0.75, 0.5]
    assert counts(records) == {reason: 7 * count for reason, count in DROPPED.items()}


def test_tfds_opens_the_folder(options: DetectionsOptions) -> None:
    records = build(options)
    rows = list(tfds.builder_from_directory(records.folder).as_dataset(split="images"))
    images = images_of(records)
    assert len(rows) == len(images)
    for row in rows:
        found = images[row["image_id"].numpy().decode()].found
        np.testing.assert_array_equal(row["boxes"], found.boxes)
        np.testing.assert_array_equal(row["scores"], found.scores)
        np.testing.assert_array_equal(row["classes"], found.class_ids)
        assert [name.decode() for name in row["class_names"].numpy()] == list(found.class_names)


def test_lists_of_images(options: DetectionsOptions, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("b.png\na.png\n")
    (tmp_path / "val.txt").write_text("c.png\nnone.png\n")
    lists = {"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"}
    records = build(replace(options, splits=lists, shards=1))
    assert [records.count(split) for split in records.splits] == [2, 1]
    assert list(images_of(records)) == ["b.png", "a.png", "c.png"]
    assert counts(records)["missing"] == 1
    leads_out = "is outside of the folder"
    lines = {"../a.png": leads_out, "/etc/passwd": leads_out, "b\0.png": "contains zero bytes"}
    for line, message in lines.items():
        (tmp_path / "train.txt").write_text(f"a.png\n{line}\n")
        with pytest.raises(InputError, match=rf"train\.txt:2: .* {message}"):
            build(replace(options, splits=lists, overwrite=True))


def test_hostile_images_harm_no_other(options: DetectionsOptions) -> None:
    assert options.images is not None
    folder = options.images
    pixels = bright_image(20, 40, (1, 2, 15, 20))
    whole = encode(pixels)
    hostile = {
        "empty.png": b"",
        "cut.png": whole[: len(whole) // 2],
        "text.jpg": b"no picture",
        "low.png": encode(pixels[:2]),
        "one.png": encode(pixels[:1, :1]),
    }
    good = {
        "grey.png": encode(pixels[..., 0]),
        "alpha.png": encode(np.dstack([pixels, pixels[..., :1]])),
        "deep.png": encode(pixels[..., 0].astype(np.uint16) * 257),
        "cmyk.jpg": encode(pixels, "JPEG", mode="CMYK", quality=95),
        "moving.gif": encode(
            pixels, "GIF", save_all=True, append_images=[Image.fromarray(0 * pixels)]
        ),
    }
    for name, data in (hostile | good).items():
        (folder / name).write_bytes(data)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder.png").mkdir()
    records = build(options)
    assert set(images_of(records)) == {*NAMES, *good}
    skipped = {skip["source"]: skip["reason"] for skip in records.manifest["skipped"]["list"]}
    assert skipped == {
        "empty.png": "empty",
        "cut.png": "unreadable",
        "text.jpg": "unreadable",
        "low.png": "undetectable",
        "one.png": "undetectable",
        "loop.png": "unreadable",
        "folder.png": "unreadable",
    }
    for name in good:
        box = images_of(records)[name].found.boxes[1]
        np.testing.assert_allclose(box, [1 / 20, 2 / 40, 15 / 20, 20 / 40], atol=0.08)


def test_no_usable_image_is_an_error(options: DetectionsOptions) -> None:
    assert options.images is not None
    for path in options.images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="would be empty; left out: 7 empty"):
        build(options)


def test_a_stopped_build_goes_on(
    options: DetectionsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    batch = detection_shards.DetectShardJob._batch

    def counted(job: Any, images: Any) -> Any:
        if len(looked_at) >= 5:
            raise KeyboardInterrupt
        looked_at.extend(name for name, _ in images)
        return batch(job, images)

    monkeypatch.setattr(detection_shards.DetectShardJob, "_batch", counted)
    with pytest.raises(KeyboardInterrupt):
        build(options)
    done = list(looked_at)
    looked_at.clear()
    records = build(options)
    assert (len(done), sorted(done + looked_at)) == (5, NAMES)
    assert records.count("images") == 7
    looked_at.clear()
    assert build(options).manifest == records.manifest
    assert not looked_at


def test_what_decides_the_records(options: DetectionsOptions, tmp_path: Path) -> None:
    build(options)
    write_frozen_graph(tmp_path / "model.pb", batch=1)
    with pytest.raises(InputError, match="other options or sources"):
        build(options)
    assert options.label_map is not None
    fewer = build(replace(options, min_score=0.6, overwrite=True))
    assert {len(image.found.scores) for image in images_of(fewer).values()} == {1}


def test_batches_and_workers_change_nothing(options: DetectionsOptions, label_map: Path) -> None:
    assert options.images is not None
    records = build(options)
    other = build(replace(options, folder=options.folder.with_name("two"), batch_size=3))
    assert shard_sums(other) == shard_sums(records)
    detector = DetectorOptions(
        kind="frozen_graph", model=options.detector.partition(":")[2], label_map=label_map
    )
    job = detection_shards.DetectShardJob(ImageFolder(options.images), tuple(NAMES), detector)
    assert list(pickle.loads(pickle.dumps(job))()) == list(job())


def test_images_that_declare_too_many_pixels(options: DetectionsOptions) -> None:
    with pytest.raises(InputError, match=r"left out: .*too_large"):
        build(replace(options, max_pixels=1))


def test_an_error_in_the_detector_ends_the_build(options: DetectionsOptions) -> None:
    (Path(options.detector.partition(":")[2])).write_bytes(b"")
    with pytest.raises(InputError, match="has no image_tensor"):
        build(options)


@pytest.fixture
def taken_over(tmp_path: Path, options: DetectionsOptions) -> DetectionsOptions:
    data = coco(
        [annotation(score=s, image_id=i) for i in (1, 2) for s in (0.25, 0.75, 0.5)],
        images=[
            {"id": i, "file_name": f"{name}.jpg", "height": 100, "width": 200}
            for i, name in enumerate("abc", 1)
        ],
    )
    data["annotations"].append(annotation(bbox=[5, 5, 0, 0]))
    (tmp_path / "d.json").write_text(json.dumps(data))
    (tmp_path / "rows.json").write_text(json.dumps(data["annotations"]))
    detector = f"coco:{tmp_path / 'd.json'}"
    return replace(options, detector=detector, images=None, label_map=None)


def test_coco_results_are_taken_over(taken_over: DetectionsOptions, tmp_path: Path) -> None:
    records = build(replace(taken_over, max_detections=2))
    images = images_of(records)
    assert {n: i.found.scores.tolist() for n, i in images.items()} == {
        "a.jpg": [0.75, 0.5], "b.jpg": [0.75, 0.5], "c.jpg": [],
    }  # fmt: skip
    assert (images["c.jpg"].height, images["c.jpg"].width) == (100, 200)
    assert counts(records) == {"box_inverted": 1}
    plain = f"coco:{tmp_path / 'rows.json'}+{tmp_path / 'd.json'}"
    other = replace(taken_over, detector=plain, folder=tmp_path / "plain", max_detections=2)
    assert shard_sums(build(other)) == shard_sums(records)
    assert build(other).manifest["options"]["model"] == "rows.json"


def test_taken_over_by_lists(taken_over: DetectionsOptions, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("b.jpg\n")
    (tmp_path / "val.txt").write_text("a.jpg\nz.jpg\n")
    lists = {split: tmp_path / f"{split}.txt" for split in ("train", "val")}
    records = build(replace(taken_over, splits=lists))
    assert [records.count(split) for split in records.splits] == [1, 1]
    assert counts(records) == {"missing": 1, "box_inverted": 1}
    (tmp_path / "train.txt").write_text("y.jpg\n")
    (tmp_path / "val.txt").write_text("z.jpg\n")
    with pytest.raises(InputError, match=r"d\.json contains no detection in the listed images"):
        build(replace(taken_over, splits=lists, overwrite=True))


def test_open_images_and_hdf5_are_taken_over(
    taken_over: DetectionsOptions, tmp_path: Path, labels: Path
) -> None:
    write_csv(tmp_path / "b.csv", *ROWS)
    write_hdf5(tmp_path / "o.hdf5", {"COCO_1": GOOD})
    (tmp_path / "all.txt").write_text("b2.jpg\na1.jpg\n")
    for detector, lists, names in (
        (f"open_images:{tmp_path / 'b.csv'}", {}, {"a1", "b2"}),
        (f"open_images:{tmp_path / 'b.csv'}", {"val": tmp_path / "all.txt"}, {"a1.jpg", "b2.jpg"}),
        (f"hdf5:{tmp_path / 'o.hdf5'}", {}, {"COCO_1"}),
    ):
        change: dict[str, Any] = {"detector": detector, "splits": lists, "label_map": labels}
        records = build(replace(taken_over, **change, overwrite=True))
        assert set(images_of(records)) == names


def test_tables_of_labels_are_taken_over(taken_over: DetectionsOptions, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,labels\na.jpg,sea;ship\nb.jpg,\n")
    change: dict[str, Any] = {"detector": f"labels:{tmp_path / 't.csv'}"}
    images = images_of(build(replace(taken_over, **change)))
    assert {name: set(image.found.class_names) for name, image in images.items()} == {
        "a.jpg": {"sea", "ship"}, "b.jpg": set(),
    }  # fmt: skip
    with pytest.raises(InputError, match="labels files contain the class names: leave label_map"):
        build(replace(taken_over, **change, label_map=tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"detector": "yolo:x"},
            "kinds frozen_graph, saved_model, keras_hub, classifier, zero_shot, colors, coco",
        ),
        ({"crops": 5}, "crops=5 must be one of 1, 5, above 1 only for classifier and zero_shot"),
        ({"crops": 3}, "crops=3 must be one of 1, 5"),
        ({"prompts": ("a {}",)}, "frozen_graph has no prompts"),
        (
            {"detector": "zero_shot:clip", "prompts": ("a photo",)},
            "prompt 'a photo' must contain {}, the place of a class name",
        ),
        ({"detector": "frozen_graph"}, "expected KIND:MODEL"),
        ({"detector": "frozen_graph:none.pb"}, r"the frozen_graph none\.pb does not exist"),
        ({"label_map": None}, "give the label_map"),
        ({"label_map": Path("none.txt")}, r"none\.txt does not exist"),
        ({"images": None}, "needs the folder of images"),
        ({"images": Path("nowhere")}, "no folder of images nowhere"),
        ({"detector": "coco:d.json"}, "leave images out"),
        ({"detector": "coco:d.json", "images": None}, "leave label_map out"),
        ({"detector": "hdf5:none.h5", "images": None}, r"no file of detections none\.h5"),
        ({"shards": 0}, "shards=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_detections": 0}, "max_detections=0"),
        ({"min_score": 2.0}, r"min_score=2\.0"),
        ({"min_score": float("nan")}, "min_score=nan"),
    ],
)
def test_bad_options_are_named(
    options: DetectionsOptions, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(replace(options, **change))


def test_real_detections_stay_what_they_are(
    taken_over: DetectionsOptions, shared_data: Path
) -> None:
    path = shared_data / "flickr8k/detections_coco.json"
    records = build(replace(taken_over, detector=f"coco:{path}", shards=2))
    assert records.count("images") == 7000
    dropped: Counter[str] = Counter()
    theirs = read_detections([DetectionSource(path=path)], dropped=dropped)
    ours = read_detections([DetectionSource(path=records.folder)])
    assert counts(records) == dict(dropped)
    assert set(ours) == set(theirs)
    for name, mine in ours.items():
        order = np.argsort(-theirs[name].scores, kind="stable")
        np.testing.assert_array_equal(mine.boxes, theirs[name].boxes[order])
        np.testing.assert_array_equal(mine.class_ids, theirs[name].class_ids[order])
        assert mine.sizes == {0: (224, 224)}
        assert not mine.is_tag.any()


def test_real_photographs(options: DetectionsOptions, shared_data: Path) -> None:
    folder = shared_data / "coco/mini/val2017"
    records = build(replace(options, images=folder))
    sizes = {image.name: (image.height, image.width) for image in images_of(records).values()}
    assert set(sizes) == {path.name for path in folder.iterdir()}
    truth = read_boxes(shared_data / "coco/mini/annotations/instances_val2017.json", None)
    listed = {image.name: (image.height, image.width) for image in truth}
    # The annotations list 79 images, the folder holds some of them and others.
    common = sizes.keys() & listed.keys()
    assert len(common) > 10
    assert {name: sizes[name] for name in common} == {name: listed[name] for name in common}


def test_real_tags_stay_tags(taken_over: DetectionsOptions, shared_data: Path) -> None:
    path = shared_data / "flickr8k/tags_imagenet.json"
    records = build(replace(taken_over, detector=f"coco:{path}"))
    found = read_detections([DetectionSource(path=records.folder, min_score=0.2)])
    assert sum(len(image.scores) for image in found.values()) == 32935
    assert all(image.is_tag.all() for image in found.values())


def test_the_command(taken_over: DetectionsOptions, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "r2m.cli.detect_objects", f"--detector={taken_over.detector}"]
    done = run_forked([*command, "--output=found", "--min_score=0.3"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{tmp_path / 'found'}: 3 images; left out: 1 box_inverted"
    assert open_records(tmp_path / "found").manifest["options"]["min_score"] == 0.3


def test_a_batch_of_records_is_parsed_at_once(options: DetectionsOptions) -> None:
    """As WORKSPACE.md says."""
    records = build(options)
    spec = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        "boxes": tf.io.RaggedFeature(
            tf.float32, partitions=[tf.io.RaggedFeature.UniformRowLength(4)]
        ),
    }
    rows = list(tf.data.TFRecordDataset(records.shards("images")))
    assert tf.io.parse_example(rows, spec)["boxes"].shape.as_list() == [7, None, 4]
