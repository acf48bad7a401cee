"""`features` records: made of images, made of stored features, and read as a store."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tfrecords.builders.features.build import FeatureRecordsOptions, build_features
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example, find_feature
from tfrecords.core.records import open_records
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.pictures import image_formats
from tfrecords.pictures.decoding import decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions

NET = BackboneOptions(name="VGG16", weights="none", image_size=32, batch_size=4)


def png(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def options(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "val2014").mkdir(parents=True)
    for seed, name in enumerate("abcdefg"):
        (folder / f"{name}.png").write_bytes(png(seed))
    (folder / "val2014" / "COCO_val2014_000000000042.png").write_bytes(png(42, (64, 20)))
    return FeatureRecordsOptions(
        folder=tmp_path / "records",
        images=folder,
        recursive=True,
        backbone=NET,
        features=FeatureOptions(grid=2),
        store_grid=True,
        shards=3,
    )


def build(options: FeatureRecordsOptions):
    return build_features(options, progress=False)


def rows(records, split: str = "images") -> dict[str, dict]:
    names = {"image_id": tf.string, "height": tf.int64, "width": tf.int64}
    spec = {name: tf.io.FixedLenFeature([], kind) for name, kind in names.items()}
    for name in ("global_feature", "grid_feature", "region_feature"):
        if name in records.feature_names:
            spec[name] = tf.io.FixedLenFeature([], tf.string)
    if "boxes" in records.feature_names:
        four = [tf.io.RaggedFeature.UniformRowLength(4)]
        spec["boxes"] = tf.io.RaggedFeature(tf.float32, partitions=four)
    serialized = list(tf.data.TFRecordDataset(records.shards(split)))
    assert len(serialized) == records.count(split)
    batch = tf.io.parse_example(serialized, spec)
    return {
        batch["image_id"][row].numpy().decode(): {
            name: values[row].numpy() for name, values in batch.items()
        }
        for row in range(len(serialized))
    }


def reasons(records) -> dict[str, str]:
    return {skip["source"]: skip["reason"] for skip in records.manifest["skipped"]["list"]}


def test_features_of_images(options, caplog):
    caplog.set_level("INFO", logger="absl")
    records = build(options)
    found = rows(records)
    name = "val2014/COCO_val2014_000000000042.png"
    assert set(found) == {*(f"{letter}.png" for letter in "abcdefg"), name}
    assert (found[name]["height"], found[name]["width"]) == (20, 64)
    extractor = FeatureExtractor(NET, options.features)
    alone = extractor(np.stack([decode_or_fault(data, 32) for data in (png(0), png(42, (64, 20)))]))
    for row, key in enumerate(("a.png", name)):
        vector = np.frombuffer(found[key]["global_feature"], "<f2")
        np.testing.assert_allclose(vector, alone.pooled[row], rtol=1e-2, atol=1e-4)
        grid = np.frombuffer(found[key]["grid_feature"], "<f2").reshape(2, 2, 512)
        np.testing.assert_allclose(grid, alone.grid[row], rtol=1e-2, atol=1e-4)
    recorded = records.manifest["options"]
    expected = {
        "feature_dtype": "float16",
        "feature_size": 512,
        "grid_shape": [2, 2, 512],
        "region_size": None,
    }
    assert expected.items() <= recorded.items()
    assert recorded["backbone"]["name"] == "VGG16"
    assert "8 images in " in caplog.text and "images/s" in caplog.text


def test_tfds_opens_the_folder(options):
    records = build(options)
    found = {
        row["image_id"].numpy().decode(): row
        for row in tfds.builder_from_directory(records.folder).as_dataset(split="images")
    }
    ours = rows(records)["a.png"]
    assert found["a.png"]["grid_feature"].shape == (2, 2, 512)
    vector = np.frombuffer(ours["global_feature"], "<f2")
    np.testing.assert_array_equal(found["a.png"]["global_feature"].numpy(), vector)
    assert found["a.png"]["height"].numpy() == 30


def test_ten_crops_of_a_named_layer_with_unit_norm(options):
    network = BackboneOptions(name="VGG16", weights="none", image_size=32, layer="block3_pool")
    view = FeatureOptions(short_side=36, crops=10, unit_norm=True, dtype="float32")
    records = build(replace(options, backbone=network, features=view, store_grid=False))
    vectors = [np.frombuffer(row["global_feature"], "<f4") for row in rows(records).values()]
    assert {vector.shape for vector in vectors} == {(256,)}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert records.manifest["options"]["feature_dtype"] == "float32"
    assert records.manifest["options"]["backbone"]["crops"] == 10


def test_lists_of_images_and_what_cannot_be_read(options, tmp_path):
    (options.images / "b.png").write_bytes(png(1)[:60])
    (options.images / "c.png").write_bytes(b"")
    (tmp_path / "val.txt").write_text("a.png\nb.png\nc.png\nnowhere.png\n")
    small = replace(options, splits={"val": tmp_path / "val.txt"}, recursive=False)
    records = build(small)
    assert set(rows(records, "val")) == {"a.png"}
    assert reasons(records) == {"b.png": "unreadable", "c.png": "empty", "nowhere.png": "missing"}
    just = build(replace(small, folder=tmp_path / "r2", max_pixels=1200))
    assert reasons(just) == reasons(records)
    with pytest.raises(InputError, match="too_large"):
        build(replace(small, folder=tmp_path / "r3", max_pixels=1199))
    (tmp_path / "val.txt").write_text("../pictures/a.png\n")
    with pytest.raises(InputError, match=r"val\.txt:1: .*is outside of the folder"):
        build(replace(small, folder=tmp_path / "r4"))


def test_a_folder_of_traps(options):
    os.mkfifo(options.images / "pipe.png")
    (options.images / "loop.png").symlink_to(options.images / "loop.png")
    (options.images / "endless.png").symlink_to("/dev/zero")
    (options.images / "round").symlink_to(options.images)
    Path(os.fsdecode(os.fsencode(options.images) + b"/\xff.png")).write_bytes(png(0))
    records = build(options)
    assert records.count("images") == 8
    found = reasons(records)
    assert found.pop("\\udcff.png") == "undecodable"
    assert found == dict.fromkeys(("pipe.png", "loop.png", "endless.png"), "unreadable")


def test_a_build_is_another_one_once_the_plugin_for_heif_is_installed(options, monkeypatch):
    (options.images / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setattr(image_formats, "heif_plugin", lambda: False)
    assert reasons(build(options))["phone.heic"] == "unsupported_format"
    monkeypatch.setattr(image_formats, "heif_plugin", lambda: True)
    with pytest.raises(InputError, match="other options or sources"):
        build(options)


def test_a_killed_build_goes_on(options, tmp_path, monkeypatch):
    whole = build(options)
    from tfrecords.pictures import image_reading

    original, calls = image_reading._with_features, []

    def counted(images, *arguments):
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(images, *arguments)

    monkeypatch.setattr(image_reading, "_with_features", counted)
    again = replace(options, folder=tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        build(again)
    resumed = build(again)
    # The first shard, of three images, was kept.
    assert calls == [3, 3, 3, 2]
    assert resumed.digest == whole.digest


@pytest.fixture
def rows_file(tmp_path):
    array = np.random.RandomState(0).normal(size=(6, 5)).astype(np.float32) * 3
    np.save(tmp_path / "coco_ims.npy", array)
    return tmp_path / "coco_ims.npy", array


def stored(tmp_path, text: object, **more) -> FeatureRecordsOptions:
    store = open_feature_store(str(text))
    return FeatureRecordsOptions(folder=tmp_path / "records", store=store, shards=2, **more)


def test_stored_vectors_become_records(rows_file, tmp_path):
    path, array = rows_file
    records = build(stored(tmp_path, path))
    found = rows(records)
    assert set(found) == {str(row) for row in range(6)}
    half = np.frombuffer(found["3"]["global_feature"], "<f2")
    np.testing.assert_array_equal(half, array[3].astype(np.float16))
    assert (found["3"]["height"], found["3"]["width"]) == (0, 0)
    view = FeatureOptions(unit_norm=True, dtype="float32")
    whole = build(replace(stored(tmp_path, path, features=view), folder=tmp_path / "whole"))
    norms = np.linalg.norm(array[3])
    vector = np.frombuffer(rows(whole)["3"]["global_feature"], "<f4")
    np.testing.assert_allclose(vector, array[3] / norms, rtol=1e-6)


def test_rows_are_not_taken_for_the_images_of_that_number(rows_file, tmp_path):
    (tmp_path / "val.txt").write_text("COCO_val2014_000000000002.jpg\n3\n")
    records = build(stored(tmp_path, rows_file[0], splits={"val": tmp_path / "val.txt"}))
    assert set(rows(records, "val")) == {"3"}
    assert reasons(records) == {"COCO_val2014_000000000002.jpg": "missing"}


def test_a_row_of_zeros_has_no_norm(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0, 0], [3, 4]], np.float32))
    view = FeatureOptions(unit_norm=True)
    found = rows(build(stored(tmp_path, tmp_path / "x.npy", features=view)))
    assert np.frombuffer(found["0"]["global_feature"], "<f2").tolist() == [0, 0]
    np.testing.assert_allclose(np.frombuffer(found["1"]["global_feature"], "<f2"), [0.6, 0.8], 1e-3)


def write_regions(folder: Path) -> str:
    """Features of two images under the names of COCO, of one in a damaged form."""
    for part in ("att", "box"):
        (folder / f"bu_{part}").mkdir()
    for key, count in (("42", 3), ("43", 2), ("44", 4)):
        array = np.full((count, 6), float(key), np.float32)
        np.savez_compressed(folder / "bu_att" / f"{key}.npz", feat=array)
        np.save(folder / "bu_box" / f"{key}.npy", np.tile([0.1, 0.2, 0.3, 0.4], (count, 1)))
    (folder / "bu_att" / "43.npz").write_bytes(b"PK")
    return f"folders:{folder / 'bu'}"


def test_regions_become_records_and_damage_is_skipped(tmp_path):
    records = build(stored(tmp_path, write_regions(tmp_path)))
    found = rows(records)
    assert set(found) == {"42", "44"}
    assert np.frombuffer(found["42"]["region_feature"], "<f2").tolist() == [42.0] * 18
    np.testing.assert_allclose(found["44"]["boxes"], [[0.2, 0.1, 0.4, 0.3]] * 4)
    (skip,) = records.manifest["skipped"]["list"]
    assert (skip["source"], skip["reason"]) == ("43", "damaged")
    assert "43.npz cannot be read as an array" in skip["detail"]
    for row in tfds.builder_from_directory(records.folder).as_dataset(split="images"):
        count = 3 if row["image_id"].numpy() == b"42" else 4
        assert row["region_feature"].shape == (count, 6)
        assert row["boxes"].shape == (count, 4)


def test_lists_name_images_as_the_data_set_does(tmp_path):
    text = write_regions(tmp_path)
    names = "val2014/COCO_val2014_000000000042.jpg\nCOCO_val2014_000000000099.jpg\n"
    (tmp_path / "val.txt").write_text(names)
    records = build(stored(tmp_path, text, splits={"val": tmp_path / "val.txt"}))
    assert set(rows(records, "val")) == {"val2014/COCO_val2014_000000000042.jpg"}
    assert reasons(records) == {"COCO_val2014_000000000099.jpg": "missing"}


def test_numbers_that_do_not_fit_are_skipped(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1, 2], [70000, 2]], np.float32))
    records = build(stored(tmp_path, tmp_path / "x.npy"))
    assert set(rows(records)) == {"0"}
    assert "up to 70000, which are not finite in float16" in str(
        records.manifest["skipped"]["list"]
    )


def test_records_are_a_store_themselves(options, tmp_path):
    records = build(options)
    store = open_feature_store(str(records.folder))
    assert store.shapes == {"global_feature": (512,), "grid_feature": (2, 2, 512)}
    assert not store.has_boxes
    assert set(store.keys()) == set(rows(records))
    store = pickle.loads(pickle.dumps(store))
    # By the whole name, and by that without its folder.
    for key in ("val2014/COCO_val2014_000000000042.png", "COCO_val2014_000000000042.png"):
        found = store.get("nothing", key)
        expected = rows(records)["val2014/COCO_val2014_000000000042.png"]
        assert found.global_feature.tobytes() == expected["global_feature"]
        assert found.grid_feature.tobytes() == expected["grid_feature"]
        assert (found.height, found.width) == (20, 64)
    # The number of COCO's file name is one of its names, too.
    assert store.get("42.png").width == 64
    assert store.get("43.png") is None


def test_region_records_come_back_with_their_boxes(tmp_path):
    build(stored(tmp_path, write_regions(tmp_path)))
    store = open_feature_store(f"records:{tmp_path / 'records'}")
    assert store.shapes == {"region_feature": (None, 6)}
    found = store.get("44")
    np.testing.assert_allclose(found.boxes, [[0.2, 0.1, 0.4, 0.3]] * 4)
    assert found.region_feature.shape == (4, 6)
    assert (found.height, found.width) == (None, None)


def test_records_that_are_damaged(rows_file, tmp_path):
    records = build(stored(tmp_path, rows_file[0]))
    shard = Path(records.shards("images")[0])
    whole = bytearray(shard.read_bytes())
    whole[-10] ^= 1
    shard.write_bytes(bytes(whole))
    store = open_feature_store(str(records.folder))
    with pytest.raises(InputError, match="broken record at byte"):
        store.get("4")
    assert store.get("0").global_feature.shape == (5,)
    shard.write_bytes(bytes(whole[:-1]))
    with pytest.raises(InputError, match="was cut short"):
        open_feature_store(str(records.folder))


def test_records_built_anew_are_not_mistaken_for_those_before(rows_file, tmp_path):
    plan = stored(tmp_path, rows_file[0])
    build(plan)
    store = open_feature_store(str(plan.folder))
    build(replace(plan, features=FeatureOptions(unit_norm=True), overwrite=True))
    with pytest.raises(InputError, match="was rebuilt after"):
        store.get("0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": None}, "give either a backbone or stored features"),
        ({"images": None}, "needs a folder of images"),
        ({"images": Path("nowhere")}, "no folder of images nowhere"),
        ({"shards": 0}, "shards=0"),
        ({"max_pixels": 0}, "max_pixels=0"),
        ({"features": FeatureOptions(short_side=40, crops=10)}, "have no common grid"),
        ({"store_grid": False}, "give store_grid too"),
        ({"backbone": replace(NET, layer="fc1")}, "outputs vectors, not feature maps"),
        ({"features": FeatureOptions(short_side=20)}, "short_side=20 is less than"),
    ],
)
def test_options_that_make_no_sense(options, change, message):
    with pytest.raises(InputError, match=message):
        build(replace(options, **change))


def test_options_of_a_network_are_none_of_stored_features(rows_file, options, tmp_path):
    plan = stored(tmp_path, rows_file[0])
    for change, message in (
        ({"store_grid": True}, "stored features are not changed"),
        ({"features": FeatureOptions(short_side=300)}, "stored features are not changed"),
        ({"images": options.images}, "need no folder of images"),
        ({"backbone": NET}, "give either a backbone or stored features"),
    ):
        with pytest.raises(InputError, match=message):
            build(replace(plan, **change))


def test_one_feature_is_found_without_reading_those_before_it():
    values = {"image_id": "ä.jpg", "a": b"x" * 300, "ints": np.array([1, -1]), "b": b""}
    record = encode_example(values)
    # Somewhere in a larger file.
    buffer = b"junk" + record + b"more"
    span = (4, 4 + len(record))
    assert find_feature(buffer, *span, "image_id") == ["ä.jpg".encode()]
    assert np.asarray(find_feature(buffer, *span, "ints")).tolist() == [1, -1]
    with pytest.raises(ValueError, match="without nothing"):
        find_feature(buffer, *span, "nothing")
    for cut in range(1, len(record)):
        with pytest.raises(ValueError, match=r"cut short|a field of"):
            find_feature(record[:cut], 0, cut, "ints")


def test_real_images_and_weights(shared_data, tmp_path):
    weights = shared_data / "models/mobilenet_v1_0.75_224_notop.weights.h5"
    names = (shared_data / "flickr8k/dev_images.txt").read_text().split()[:4]
    (tmp_path / "val.txt").write_text("\n".join(names))
    records = build(
        FeatureRecordsOptions(
            folder=tmp_path / "records",
            images=shared_data / "flickr8k/images",
            splits={"val": tmp_path / "val.txt"},
            backbone=BackboneOptions(weights=str(weights), alpha=0.75),
            features=FeatureOptions(grid=14, unit_norm=True),
            store_grid=True,
        )
    )
    assert open_records(records.folder, kind="features", verify="sha256").count("val") == 4
    store = open_feature_store(str(records.folder))
    assert store.shapes["grid_feature"] == (14, 14, 768)
    vectors = [store.get(Path(name).stem, name).global_feature for name in names]
    np.testing.assert_allclose(np.linalg.norm(np.float32(vectors), axis=1), 1, atol=1e-3)
    # Different photographs look different, and the map's mean is near the vector.
    assert (np.float32(vectors) @ np.float32(vectors).T)[np.triu_indices(4, 1)].max() < 0.95
    assert store.get(names[0]).height == 224
