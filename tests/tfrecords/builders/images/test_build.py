from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import CONCEPTS, VOCABULARY, open_records
from tfrecords.core.runners import Local
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.core.writer import write_dataset
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.label_maps import LabelMap
from tfrecords.pictures.backbones import backbone_names
from tfrecords.pictures.decoding import decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions
from tfrecords.pictures.image_names import parse_splits

CLASSES = ("person", "dog", "car")
# Features of random weights fade to zero in the deep nets without shortcuts; VGG is shallow.
RANDOM_NET = BackboneOptions(name="VGG16", weights="none", image_size=32)
TINY_NET = BackboneOptions(name="MobileNet", weights="none", image_size=32, alpha=0.25)


def one_sentence():
    yield encode_example({"text": "a dog"})


def make_corpora(folder: Path, *, forget: str = "", counts: dict[str, int] | None = None) -> Path:
    dictionary = build_concept_dictionary([LabelMap("test", dict(enumerate(CLASSES, 1)))])
    content = json.loads(dictionary.to_json())
    content["counts"] = counts or dict.fromkeys(dictionary.words, 5)
    words = [word for word in dictionary.words if word != forget]
    vocabulary = build_vocabulary({"a": 9, **dict.fromkeys(words, 4)}, min_count=1)
    folder.parent.mkdir(exist_ok=True)
    file = folder.parent / "v.txt"
    vocabulary.save(file)
    write_dataset(
        folder=folder,
        kind="corpora",
        name="test",
        splits={"train": [one_sentence]},
        features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
        options={},
        sources=[file],
        extra_files={VOCABULARY: file.read_bytes(), CONCEPTS: json.dumps(content)},
        progress=False,
    )
    return folder


def jpeg(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_detections(path: Path, rows: list[tuple[str, str, float]], names: list[str]) -> None:
    ids = {name: i for i, name in enumerate(names, 1)}
    data = {
        "images": [{"id": i, "file_name": n, "width": 40, "height": 30} for n, i in ids.items()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
        "annotations": [
            {"image_id": ids[n], "category_id": CLASSES.index(c) + 1, "bbox": [4, 3, 20, 15]}
            | {"score": score}
            for n, c, score in rows
        ],
    }
    path.write_text(json.dumps(data))


@pytest.fixture
def options(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [f"{letter}.jpg" for letter in "abcdef"]
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed))
    rows = [(name, "dog", 0.6) for name in names if name != "f.jpg"]
    rows += [("a.jpg", "person", 0.9), ("a.jpg", "person", 0.8), ("e.jpg", "car", 0.4)]
    write_detections(tmp_path / "detections.json", rows, names)
    (tmp_path / "train.txt").write_text("a.jpg\nb.jpg\nc.jpg\nd.jpg\n")
    (tmp_path / "val.txt").write_text("e.jpg\nf.jpg\n")
    (tmp_path / "captions.txt").write_text(
        "".join(f"{name}#{i}\tCaption {i} of {name}\n" for name in names for i in range(2))
    )
    return ImagesOptions(
        folder=tmp_path / "records",
        images=folder,
        detections=(DetectionSource(path=tmp_path / "detections.json"),),
        corpora=make_corpora(tmp_path / "corpora"),
        splits={"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"},
        shards=2,
    )


def parse(records, split):
    """All records of a split by image id, parsed in one batch as the pipelines do."""
    spec = {
        "image_id": tf.io.FixedLenFeature([], tf.string),
        "source_id": tf.io.FixedLenFeature([], tf.string),
        "concepts": tf.io.RaggedFeature(tf.int64),
        "concept_scores": tf.io.RaggedFeature(tf.float32),
        "concept_counts": tf.io.RaggedFeature(tf.int64),
        "boxes": tf.io.RaggedFeature(
            tf.float32, partitions=[tf.io.RaggedFeature.UniformRowLength(4)]
        ),
        "texts": tf.io.RaggedFeature(tf.string),
    }
    for name in ("image", "global_feature", "grid_feature"):
        if name in records.feature_names:
            spec[name] = tf.io.FixedLenFeature([], tf.string)
    serialized = list(tf.data.TFRecordDataset(records.shards(split)))
    assert len(serialized) == records.count(split)
    batch = tf.io.parse_example(serialized, spec)
    return {
        batch["image_id"][row].numpy().decode(): {
            name: values[row].numpy() for name, values in batch.items()
        }
        for row in range(len(serialized))
    }


def reasons(records):
    return {skip["source"]: skip["reason"] for skip in records.manifest["skipped"]["list"]}


def test_records_hold_what_was_seen(options, tmp_path):
    options = replace(options, references=tmp_path / "captions.txt")
    records = build_images(options, progress=False)
    assert (records.count("train"), records.count("val")) == (4, 2)
    vocabulary = records.vocabulary()
    train = parse(records, "train")
    a = train["a.jpg"]
    assert vocabulary.decode(a["concepts"]) == "dog person"
    np.testing.assert_allclose(a["concept_scores"], [0.6, 0.9])
    assert a["concept_counts"].tolist() == [1, 2]
    np.testing.assert_allclose(a["boxes"], [[0.1, 0.1, 0.6, 0.6]] * 2)
    assert a["image"] == (options.images / "a.jpg").read_bytes()
    assert all(len(row["texts"]) == 0 for row in train.values())
    val = parse(records, "val")
    assert val["e.jpg"]["texts"].tolist() == [b"Caption 0 of e.jpg", b"Caption 1 of e.jpg"]
    assert val["f.jpg"]["concepts"].shape == (0,)
    assert val["f.jpg"]["boxes"].shape == (0, 4)
    assert records.vocabulary_sha256 == open_records(options.corpora).vocabulary_sha256
    assert records.concepts_sha256 == open_records(options.corpora).concepts_sha256


def test_training_images_get_texts_only_when_asked(options, tmp_path):
    asked = replace(options, references=tmp_path / "captions.txt", reference_splits=("train",))
    records = build_images(asked, progress=False)
    assert all(len(row["texts"]) == 2 for row in parse(records, "train").values())
    assert all(len(row["texts"]) == 0 for row in parse(records, "val").values())


def test_references_that_no_split_would_get_are_refused(options, tmp_path):
    asked = replace(options, references=tmp_path / "captions.txt", reference_splits=("test",))
    with pytest.raises(InputError, match=r"--reference_splits=test are not among .*=train,val, or"):
        build_images(asked, progress=False)


def test_images_keep_their_numbers_of_the_references(options, tmp_path):
    names = {7: "a.jpg", 0: "e.jpg", 12: "val/f.jpg"}
    content = {
        "images": [{"id": number, "file_name": name} for number, name in names.items()],
        "annotations": [{"id": 1, "image_id": 0, "caption": "a car"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    records = build_images(replace(options, references=tmp_path / "coco.json"), progress=False)
    rows = {**parse(records, "train"), **parse(records, "val")}
    numbers = {name: row["source_id"] for name, row in rows.items()}
    assert numbers == {
        **{"a.jpg": b"7", "e.jpg": b"0", "f.jpg": b"12"},
        **dict.fromkeys(("b.jpg", "c.jpg", "d.jpg"), b""),
    }
    assert {name for name, row in rows.items() if len(row["texts"])} == {"e.jpg"}


def test_tfds_opens_the_folder(options):
    with_net = replace(options, backbone=RANDOM_NET, store_grid=True)
    records = build_images(with_net, progress=False)
    rows = list(tfds.builder_from_directory(records.folder).as_dataset(split="val"))
    assert {row["image"].shape.as_list()[-1] for row in rows} == {3}
    by_id = parse(records, "val")
    for row in rows:
        mine = by_id[row["image_id"].numpy().decode()]
        pooled = tf.io.decode_raw(mine["global_feature"], tf.float16).numpy()
        np.testing.assert_array_equal(row["global_feature"].numpy(), pooled)
        assert row["grid_feature"].shape == (1, 1, 512)
        np.testing.assert_array_equal(row["boxes"].numpy(), mine["boxes"])


def test_broken_images_are_skipped_with_their_reason(options):
    whole = (options.images / "a.jpg").read_bytes()
    (options.images / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (options.images / "b.jpg").write_bytes(b"")
    (options.images / "c.jpg").unlink()
    (options.images / "e.jpg").write_bytes(b"no picture")
    records = build_images(replace(options, backbone=RANDOM_NET), progress=False)
    assert reasons(records) == {
        "a.jpg": "unreadable",
        "b.jpg": "empty",
        "c.jpg": "missing",
        "e.jpg": "unreadable",
    }
    assert set(parse(records, "train")) == {"d.jpg"}


def test_no_usable_image_is_an_error(options):
    for name in "abcd":
        (options.images / f"{name}.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"'train'.*4 empty"):
        build_images(options, progress=False)


def test_images_without_concepts(options, tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg\nf.jpg\n")
    (tmp_path / "val.txt").write_text("e.jpg\nunknown.jpg\n")
    (options.images / "unknown.jpg").write_bytes(jpeg(9))
    records = build_images(options, progress=False)
    assert reasons(records) == {"f.jpg": "no_concept"}
    assert set(parse(records, "val")) == {"e.jpg", "unknown.jpg"}
    strict = replace(options, keep_images_without_concepts=False, overwrite=True)
    assert set(parse(build_images(strict, progress=False), "val")) == {"e.jpg"}


def test_all_images_of_a_folder_in_one_split(options):
    (options.images / "notes.txt").write_text("no picture")
    records = build_images(replace(options, splits={}), progress=False)
    assert records.splits == ("images",)
    assert set(parse(records, "images")) == {f"{letter}.jpg" for letter in "abcdef"}


def test_rare_concepts_are_left_out(options, tmp_path):
    corpora = make_corpora(tmp_path / "c2" / "corpora", counts={"dog": 9, "person": 2, "car": 0})
    rare = replace(options, corpora=corpora, min_concept_count=3)
    found = parse(build_images(rare, progress=False), "train")["a.jpg"]
    assert found["concept_counts"].tolist() == [1]
    with pytest.raises(InputError, match="lower min_concept_count"):
        build_images(replace(rare, min_concept_count=10), progress=False)


def test_same_options_reuse_and_workers_change_nothing(options):
    first = build_images(replace(options, backbone=RANDOM_NET), progress=False)
    again = build_images(replace(options, backbone=RANDOM_NET), progress=False)
    assert again.manifest == first.manifest
    other = replace(options, folder=options.folder.with_name("second"), runner=Local(2))
    with pytest.raises(InputError, match="other options"):
        build_images(replace(options, max_concepts=1), progress=False)
    plain = build_images(replace(other, runner=Local(1)), progress=False)
    parallel = build_images(
        replace(other, folder=options.folder.with_name("third")), progress=False
    )
    shards = [
        [shard["sha256"] for split in r.manifest["splits"].values() for shard in split["shards"]]
        for r in (plain, parallel)
    ]
    assert shards[0] == shards[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_concepts": 0}, "max_concepts=0"),
        ({"shards": 0}, "shards=0"),
        ({"concept_order": "random"}, "known: score, class_id"),
        ({"store_grid": True}, "needs a backbone"),
        ({"store_pixels": False}, "records need pixels or features"),
        ({"images": Path("nowhere")}, "no folder of images"),
        ({"corpora": Path("nowhere")}, "nowhere"),
        ({"splits": {"train": Path("nowhere.txt")}}, r"nowhere\.txt"),
        ({"backbone": BackboneOptions(weights="nowhere.h5")}, r"nowhere\.h5"),
        ({"backbone": BackboneOptions(name="AlexNet", weights="none")}, "known: .*MobileNet"),
    ],
)
def test_bad_options_are_named(options, change, message):
    with pytest.raises(InputError, match=message):
        build_images(replace(options, **change), progress=False)


def test_detections_of_other_images(options, tmp_path):
    write_detections(tmp_path / "detections.json", [("x.jpg", "dog", 0.9)], ["x.jpg"])
    with pytest.raises(InputError, match=r"none of the 6 images: they are of \['x.jpg'\]"):
        build_images(options, progress=False)


def test_detections_records_are_a_source(options, tmp_path):
    first = parse(build_images(options, progress=False), "train")
    taken = DetectionsOptions(folder=tmp_path / "d", detector=f"coco:{tmp_path}/detections.json")
    source = DetectionSource(path=build_detections(taken, progress=False).folder)
    again = replace(options, folder=tmp_path / "again", detections=(source,))
    assert str(parse(build_images(again, progress=False), "train")) == str(first)


def test_boxes_of_each_detector_come_into_the_upright_frame(options, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(options.images / "a.jpg") as image:  # 40 x 30 pixels, stored on its side
        image.save(options.images / "a.jpg", exif=exif)
    stored = tmp_path / "stored.json"
    write_detections(stored, [("a.jpg", "person", 0.9)], ["a.jpg"])
    text = (tmp_path / "detections.json").read_text()
    upright = json.loads(text.replace('"width": 40, "height": 30', '"width": 30, "height": 40'))
    upright["annotations"] = [a for a in upright["annotations"] if a["category_id"] == 2]
    (tmp_path / "detections.json").write_text(json.dumps(upright))
    both = (*options.detections, DetectionSource(path=stored))
    for number, sources in enumerate((both, both[::-1])):
        built = replace(options, folder=tmp_path / f"{number}", detections=sources)
        records = build_images(built, progress=False)
        a = parse(records, "train")["a.jpg"]
        boxes = dict(
            zip(records.vocabulary().decode(a["concepts"]).split(), a["boxes"], strict=True)
        )
        np.testing.assert_allclose(boxes["dog"], [3 / 40, 4 / 30, 18 / 40, 24 / 30], atol=1e-6)
        np.testing.assert_allclose(boxes["person"], [0.1, 0.4, 0.6, 0.9], atol=1e-6)


def test_label_map_without_a_known_class(options, tmp_path):
    path = tmp_path / "detections.json"
    path.write_text(path.read_text().replace('"dog"', '"xylophone"').replace("person", "gizmo"))
    path.write_text(path.read_text().replace('"car"', '"thing"'))
    with pytest.raises(InputError, match="none of the 3 detected classes"):
        build_images(options, progress=False)


def test_vocabulary_of_another_build(options, tmp_path):
    other = make_corpora(tmp_path / "c3" / "corpora", forget="dog")
    with pytest.raises(InputError, match="different builds"):
        build_images(replace(options, corpora=other), progress=False)
    (options.corpora / VOCABULARY).write_text("<pad>\t0\n")
    with pytest.raises(InputError, match=r"vocabulary\.txt"):
        build_images(options, progress=False)


def test_an_image_in_two_splits(options, tmp_path):
    (tmp_path / "val.txt").write_text("e.jpg\na.jpg\n")
    with pytest.raises(InputError, match=r"val\.txt:2.*already in split 'train'"):
        build_images(options, progress=False)


def test_references_of_other_images(options, tmp_path):
    (tmp_path / "captions.txt").write_text("x.jpg#0\tA dog\n")
    with pytest.raises(
        InputError,
        match=r"no caption for any image: it has captions of \['x\.jpg'\], but the images",
    ):
        build_images(replace(options, references=tmp_path / "captions.txt"), progress=False)


def test_split_texts():
    assert parse_splits(["train=a/b=c.txt"]) == {"train": Path("a/b=c.txt")}
    for bad in (["train"], ["=x"], ["train="], ["a=1", "a=2"]):
        with pytest.raises(InputError):
            parse_splits(bad)


def test_coco_mini_names_more_images_than_there_are(options, shared_data, tmp_path):
    mini = shared_data / "coco/mini"
    truth = mini / "annotations/instances_val2017.json"
    listed = [image["file_name"] for image in json.loads(truth.read_text())["images"]]
    (tmp_path / "val.txt").write_text("\n".join(listed))
    records = build_images(
        replace(
            options,
            images=mini / "val2017",
            detections=(DetectionSource(path=truth),),
            splits={"val": tmp_path / "val.txt"},
            references=mini / "annotations/captions_val2017.json",
        ),
        progress=False,
    )
    present = {path.name for path in (mini / "val2017").iterdir()}
    found = parse(records, "val")
    assert set(found) == present & set(listed)
    assert set(reasons(records).values()) == {"missing"}
    assert len(reasons(records)) == len(listed) - len(found)
    assert all(len(row["texts"]) >= 5 for row in found.values())


def test_real_weights_give_the_stored_features(options, shared_data, tmp_path):
    weights = shared_data / "models/mobilenet_v1_0.75_224_notop.weights.h5"
    backbone = BackboneOptions(weights=str(weights), alpha=0.75)
    folder = shared_data / "flickr8k/images"
    names = (shared_data / "flickr8k/dev_images.txt").read_text().split()[:3]
    (tmp_path / "val.txt").write_text("\n".join(names))
    records = build_images(
        replace(
            options,
            images=folder,
            detections=(DetectionSource(path=shared_data / "flickr8k/detections_coco.json"),),
            splits={"val": tmp_path / "val.txt"},
            backbone=backbone,
            store_pixels=False,
        ),
        progress=False,
    )
    assert "image" not in records.feature_names
    pixels = [decode_or_fault((folder / name).read_bytes(), 224) for name in names]
    alone = FeatureExtractor(backbone)(np.stack(pixels))
    assert alone.grid.shape == (3, 7, 7, 768)
    stored = parse(records, "val")
    for row, name in enumerate(names):
        found = np.frombuffer(stored[name]["global_feature"], "<f2")
        # Sums in another order may be rounded to the neighboring float16.
        np.testing.assert_allclose(found, alone.pooled[row], rtol=2**-10, atol=1e-3)
    assert (alone.pooled >= 0).all() and alone.pooled.std() > 0.1


def test_backbones_are_listed():
    assert {"MobileNet", "ResNet101", "InceptionV3", "EfficientNetV2S"} <= set(backbone_names())


def test_weights_that_do_not_fit(tmp_path):
    path = tmp_path / "w.weights.h5"
    FeatureExtractor(TINY_NET).model.save_weights(path)
    with pytest.raises(InputError, match="cannot build MobileNet"):
        FeatureExtractor(replace(TINY_NET, alpha=0.5, weights=str(path)))
    with pytest.raises(InputError, match="no alpha"):
        FeatureExtractor(BackboneOptions(name="ResNet50", weights="none", alpha=0.5))


def test_layers_left_at_their_random_start_are_noticed(tmp_path, monkeypatch):
    # Keras only warns when a weights file lacks a layer.
    path = tmp_path / "w.weights.h5"
    path.write_bytes(b"lacks everything")
    monkeypatch.setattr(tf.keras.Model, "load_weights", lambda self, path: None)
    with pytest.raises(InputError, match="is for another network"):
        FeatureExtractor(replace(TINY_NET, weights=str(path)))


def test_features_that_fade_to_zero_are_refused():
    with pytest.raises(InputError, match=r"features of MobileNet are zero in float16.*DenseNet121"):
        FeatureExtractor(TINY_NET)(np.full((2, 32, 32, 3), 128.0, np.float32))


def test_random_weights_are_the_same_in_every_process():
    pixels = np.random.RandomState(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    first, second = (FeatureExtractor(RANDOM_NET)(pixels) for _ in range(2))
    np.testing.assert_array_equal(first.pooled, second.pooled)
    np.testing.assert_allclose(
        FeatureExtractor(RANDOM_NET).pooled(pixels), first.pooled, rtol=2e-3, atol=1e-4
    )


def test_no_record_names_both_sides(options):
    for name in "abcd":
        (options.images / f"{name}.jpg").unlink()
    message = (
        r"'train' .* would be empty; left out: 4 missing\. [a-d]\.jpg: missing .*; [a-d]\.jpg"
        r".*pictures contains 2 entries \('e\.jpg', 'f\.jpg'\)"
    )
    with pytest.raises(InputError, match=message):
        build_images(options, progress=False)
