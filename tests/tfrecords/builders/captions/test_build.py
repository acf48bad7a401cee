from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pipelines.captions import open_captions, parser
from tests.tfrecords.formats.paired import paired_samples as samples
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.features.stored_values import stored_values
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.runners import Local
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions

RANDOM_NET = BackboneOptions(name="VGG16", weights="none", image_size=32)


@dataclass(frozen=True)
class Store:
    """A store with a vector and two regions of every image but those it lacks."""

    lacks: tuple[str, ...] = ()
    value: float = 1.0
    regions: int | None = 2
    promised: int = 3

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        vector: dict[str, tuple[int | None, ...]] = {"global_feature": (self.promised,)}
        return vector | ({} if self.regions is None else {"region_feature": (None, 2)})

    @property
    def has_boxes(self) -> bool:
        return self.regions is not None

    @property
    def needs_sizes(self) -> bool:
        return False

    @property
    def paths(self) -> tuple[Path, ...]:
        return ()

    @property
    def dropped(self) -> dict[str, int]:
        return {"duplicate": 7}

    def keys(self) -> list[str]:
        return []

    def get(self, *keys: str) -> StoredFeatures | None:
        if set(keys) & set(self.lacks):
            return None
        vector = np.array([int(keys[0]), len(keys), self.value], np.float32)
        if self.regions is None:
            return StoredFeatures(global_feature=vector)
        count = int(keys[0]) - 10
        return StoredFeatures(
            global_feature=vector,
            region_feature=np.arange(2 * count, dtype=np.float32).reshape(count, 2),
            boxes=np.full((count + self.regions - 2, 4), 0.25, np.float32),
            height=100,
            width=50,
        )


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def options(tmp_path: Path) -> CaptionsOptions:
    path = write(tmp_path / "dataset_coco.json", samples.karpathy())
    return CaptionsOptions(
        folder=tmp_path / "records",
        captions=(PairedSource(str(path)),),
        min_count=1,
        shards=2,
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "val2014").mkdir(parents=True)
    for number, name in enumerate(samples.IMAGES):
        # As people unpack them: some with the folder of the published list, some without.
        target = folder / "val2014" / name if number % 2 else folder / name
        target.write_bytes(samples.picture(number, kind="JPEG"))
    return folder


def build(options: CaptionsOptions, **changes: Any) -> Records:
    return build_captions(replace(options, **changes), progress=False)


def source(path: Path | str, form: str = "auto", split: str | None = None) -> Any:
    return (PairedSource(str(path), form, split),)


def read(records: Records) -> dict[str, dict[str, Any]]:
    """Every record by image id, read in one batch a split as the pipelines do."""
    found = {}
    for split in records.splits:
        serialized = list(tf.data.TFRecordDataset(records.shards(split)))
        assert len(serialized) == records.count(split)
        batch = parser(open_captions(records.folder))(tf.stack(serialized))
        for row, image_id in enumerate(batch["image_id"].numpy()):
            values = {name: value[row] for name, value in batch.items()}
            found[image_id.decode()] = {"of": split} | {
                name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy()
                for name, value in values.items()
            }
    return found


def reasons(records: Records) -> dict[str, str]:
    return {skip["source"]: skip["reason"] for skip in records.manifest["skipped"]["list"]}


def words(records: Records, sentences: Sequence[Sequence[int]]) -> list[str]:
    assert all(row[0] == 1 and row[-1] == 2 for row in sentences)
    return [records.vocabulary().decode(row) for row in sentences]


def test_records_hold_the_captions(
    options: CaptionsOptions,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="absl"):
        records = build(options)
    assert "the records contain text only" in caplog.text
    assert "train: 2 images, 3 captions, 2.7 words each, 0.00 % of the words unknown" in caplog.text
    assert records.splits == ("train", "val", "test")
    found = read(records)
    assert {name: (row["of"], row["split"].decode()) for name, row in found.items()} == {
        "val2014/a.jpg": ("train", "train"),
        "val2014/b.jpg": ("train", "restval"),
        "val2014/c.jpg": ("val", "val"),
        "val2014/d.jpg": ("test", "test"),
    }
    a = found["val2014/a.jpg"]
    assert a["texts"].tolist() == [b"A dog runs .", b"Two dogs"]
    assert words(records, a["sentences"]) == ["a dog runs", "two dogs"]
    assert a["caption_ids"].tolist() == [100, 101]
    assert a["source_id"] == b"11"
    # The vocabulary knows the training split only.
    assert words(records, found["val2014/c.jpg"]["sentences"]) == ["a <unk> <unk>", "a dog"]
    assert records.vocabulary().words == (
        *("<pad>", "<S>", "</S>", "a", "dog", "dogs", "man", "runs", "sitting", "two", "<unk>"),
    )
    assert records.vocabulary().counts[1:4] == (3, 3, 2)
    assert "image" not in records.feature_names


def test_tfds_reads_the_same(options: CaptionsOptions, images: Path) -> None:
    records = build(options, images=(images,), store=Store())
    mine = read(records)
    for split in records.splits:
        for row in tfds.builder_from_directory(records.folder).as_dataset(split=split):
            same = mine[row["image_id"].numpy().decode()]
            assert row["sentences"].to_list() == same["sentences"]
            for name in (
                *("source_id", "split", "caption_ids", "texts", "height", "width"),
                *("global_feature", "region_feature", "boxes"),
            ):
                np.testing.assert_array_equal(row[name].numpy(), same[name], err_msg=name)
            assert row["image"].shape == (16, 24, 3)


def test_lists_decide_the_splits(options: CaptionsOptions, tmp_path: Path) -> None:
    path = write(tmp_path / "tokens.txt", samples.flickr_lines())
    lists = {
        "train": write(tmp_path / "train.txt", "Flicker8k/d.jpg\nunknown.jpg\n"),
        "dev": write(tmp_path / "dev.txt", "a\n"),
    }
    records = build(options, captions=source(path), splits=lists)
    found = read(records)
    assert {name: row["of"] for name, row in found.items()} == {"d.jpg": "train", "a.jpg": "val"}
    assert found["a.jpg"]["split"] == b"dev"
    assert found["d.jpg"]["caption_ids"].tolist() == [5]
    assert records.manifest["skipped"]["counts"] == {"no_caption": 1, "not_listed": 2}
    assert reasons(records) == {"unknown.jpg": "no_caption"}
    write(lists["dev"], "x.jpg\n")
    with pytest.raises(InputError, match=r"no caption for any image of split 'dev'.*\['x.jpg'\]"):
        build(options, captions=source(path), splits=lists)
    with pytest.raises(InputError, match="list for split 'all'; known: train"):
        build(options, captions=source(path), splits={"all": lists["train"]})


def test_restval_can_be_left_out(options: CaptionsOptions) -> None:
    records = build(options, train_only=True)
    assert records.count("train") == 1
    assert records.manifest["skipped"]["counts"] == {"restval": 1}


def test_the_order_of_training_images_is_drawn(options: CaptionsOptions, tmp_path: Path) -> None:
    images = [
        {"filename": f"{number:02}.jpg", "split": ("train", "val")[number % 2], "captions": ["a"]}
        for number in range(30)
    ]
    captions = source(write(tmp_path / "many.json", {"images": images}))
    orders = []
    for seed in (0, 1):
        folder = tmp_path / f"seed{seed}"
        found = read(build(options, captions=captions, folder=folder, seed=seed, shards=1))
        names = {
            split: [n for n, r in found.items() if r["of"] == split] for split in ("train", "val")
        }
        assert names["val"] == sorted(names["val"]) and names["train"] != sorted(names["train"])
        orders.append(names["train"])
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize(
    ("rule", "kept", "dropped", "sentence"),
    [
        ("neuraltalk", "dog", "man", "a dog"),
        ("vsepp", "cat", "rare", "a dog ."),
        ("kiros", "A", "a", "A Dog."),
    ],
)
def test_rules_of_the_families(
    options: CaptionsOptions, tmp_path: Path, rule: str, kept: str, dropped: str, sentence: str
) -> None:
    texts = ["A Dog."] * 6 + ["a man"] * 5 + ["cat"] * 4 + ["rare"] * 3
    texts = [text.replace("a ", "A ") for text in texts] if rule == "kiros" else texts
    captions = source(write(tmp_path / "x.json", {"images": [{"id": 1, "captions": texts}]}))
    captions = (replace(captions[0], split="train"),)
    records = build(options, captions=captions, vocabulary_rule=rule, min_count=None)
    vocabulary = records.vocabulary()
    assert kept in vocabulary and dropped not in vocabulary
    assert words(records, read(records)["1"]["sentences"])[0] == sentence


def test_the_vocabulary_of_other_splits_or_records(
    options: CaptionsOptions, tmp_path: Path
) -> None:
    every = build(options, vocabulary_splits=("train", "val", "test"))
    assert words(every, read(every)["val2014/c.jpg"]["sentences"]) == ["a red car", "a dog"]
    again = build(options, folder=tmp_path / "again", vocabulary=every.folder, min_count=None)
    assert again.vocabulary_sha256 == every.vocabulary_sha256
    path = tmp_path / "v.txt"
    build_vocabulary({"dog": 3, "cafe\u0301": 1}, min_count=1).save(path)
    tiny = build(options, folder=tmp_path / "tiny", vocabulary=path, min_count=None)
    assert words(tiny, read(tiny)["val2014/a.jpg"]["sentences"])[0] == "<unk> dog <unk>"
    assert "caf\u00e9" in tiny.vocabulary().words
    with pytest.raises(InputError, match="min_count applies to a new vocabulary"):
        build(options, folder=tmp_path / "both", vocabulary=path)
    write(tmp_path / "x.json", {"images": [{"id": 1, "split": "val", "captions": ["a"]}]})
    with pytest.raises(InputError, match=r"no caption in train .*\(found val\)"):
        build(options, captions=source(tmp_path / "x.json"))


def test_long_sentences_are_kept_unless_a_length_is_given(options: CaptionsOptions) -> None:
    whole = build(options)
    assert whole.manifest["options"]["cut_sentences"] == 0
    cut = build(options, max_length=2, overwrite=True)
    assert words(cut, read(cut)["val2014/a.jpg"]["sentences"]) == ["a dog", "two dogs"]
    assert read(cut)["val2014/a.jpg"]["texts"].tolist()[0] == b"A dog runs ."
    assert cut.manifest["options"]["cut_sentences"] == 3
    # As upstream, the words that are cut off are counted.
    assert cut.vocabulary_sha256 == whole.vocabulary_sha256


def test_unreadable_pictures_are_skipped(options: CaptionsOptions, images: Path) -> None:
    (images / "a.jpg").unlink()
    (images / "c.jpg").write_bytes(samples.picture(9)[:60])
    write(images / "more.txt", "x")
    data = samples.karpathy()
    extra = [{**data["images"][2], "filename": "e.jpg", "cocoid": 15}]
    (images / "e.jpg").write_bytes(samples.picture(5, (40, 30)))
    path = write(images.parent / "more.json", {"images": data["images"] + extra})
    records = build(options, captions=source(path), images=(images,))
    assert reasons(records) == {"val2014/a.jpg": "missing", "val2014/c.jpg": "unreadable"}
    found = read(records)
    assert set(found) == {"val2014/b.jpg", "val2014/d.jpg", "val2014/e.jpg"}
    assert found["val2014/b.jpg"]["image"] == (images / "val2014/b.jpg").read_bytes()
    assert (found["val2014/e.jpg"]["height"], found["val2014/e.jpg"]["width"]) == (30, 40)
    for path in images.glob("*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match=r"split 'val' .*would be empty.* missing"):
        build(options, folder=images.parent / "none", images=(images,))


def test_names_that_leave_the_folder_are_not_followed(
    options: CaptionsOptions, images: Path
) -> None:
    (images.parent / "secret.jpg").write_bytes(samples.picture(7))
    rows = [
        {"filename": name, "split": "train", "captions": ["a dog"]}
        for name in ("../secret.jpg", "a.jpg", str(images / "val2014/b.jpg"))
    ]
    path = write(images.parent / "x.json", {"images": rows})
    records = build(options, captions=source(path), images=(images,))
    # An absolute name is looked for below the folder.
    assert reasons(records) == {"secret.jpg": "missing"}
    assert set(read(records)) == {"a.jpg", "b.jpg"}


def test_a_backbone_gives_features(options: CaptionsOptions, images: Path) -> None:
    records = build(
        options, images=(images,), backbone=RANDOM_NET, store_grid=True, store_pixels=False
    )
    assert "image" not in records.feature_names
    row = read(records)["val2014/a.jpg"]
    assert row["global_feature"].shape == (512,) and row["grid_feature"].shape == (1, 1, 512)
    np.testing.assert_allclose(row["global_feature"], row["grid_feature"][0, 0], rtol=1e-2)
    recorded = records.manifest["options"]
    assert (recorded["feature_size"], recorded["grid_shape"]) == (512, [1, 1, 512])
    assert (recorded["feature_dtype"], recorded["region_size"]) == ("float16", None)


def test_features_of_a_store(options: CaptionsOptions, tmp_path: Path) -> None:
    records = build(options, store=Store(lacks=("12",)))
    found = read(records)
    assert reasons(records) == {"val2014/b.jpg": "no_features"}
    assert records.manifest["skipped"]["counts"] == {"no_features": 1, "duplicate": 7}
    assert found["val2014/c.jpg"]["global_feature"].tolist() == [13, 2, 1]  # number and file name
    assert found["val2014/c.jpg"]["region_feature"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found["val2014/a.jpg"]["region_feature"].shape == (1, 2)
    assert found["val2014/a.jpg"]["boxes"].shape == (1, 4)
    assert found["val2014/c.jpg"]["boxes"].tolist() == [[0.25] * 4] * 3
    assert (found["val2014/c.jpg"]["height"], found["val2014/c.jpg"]["width"]) == (100, 50)
    plain = build(options, folder=tmp_path / "plain", store=Store(regions=None))
    assert "boxes" not in plain.feature_names


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (Store(value=float("nan")), "global_feature has NaN or infinite numbers"),
        (Store(value=1e6), "global_feature .* up to 1e.06, .* not finite in float16"),
        (Store(promised=4), r"global_feature has the shape \(3,\), expected \(4,\)"),
        (Store(regions=3), r"boxes have the shape \(2, 4\), expected \(1, 4\)"),
    ],
)
def test_features_that_cannot_be_stored(
    options: CaptionsOptions, store: Store, message: str
) -> None:
    found = store.get("11", "a.jpg")
    assert found is not None
    with pytest.raises(InputError, match=f"image 'a': {message}"):
        stored_values(store, found, FeatureOptions(), "image 'a'", boxes=store.has_boxes)
    with pytest.raises(InputError, match=r"left out: .*4 no_features"):
        build(options, store=store)


def test_both_backbone_and_store(options: CaptionsOptions, images: Path) -> None:
    with pytest.raises(InputError, match=r"both .* provide global_feature"):
        build(options, images=(images,), backbone=RANDOM_NET, store=Store())


def test_kiros_rows_become_features(options: CaptionsOptions, tmp_path: Path) -> None:
    splits = {"train": 3, "dev": 2}
    vectors = samples.write_caption_rows(tmp_path / "f8k", "f8k_", repeats=5, splits=splits)
    records = build(options, captions=source(tmp_path / "f8k"), vocabulary_rule="kiros")
    assert (records.count("train"), records.count("val")) == (3, 2)
    found = read(records)
    assert words(records, found["f8k_train_2"]["sentences"])[1] == "A train Dog 2 1 ."
    expected = vectors["dev"][1].astype(np.float16)
    np.testing.assert_array_equal(found["f8k_dev_1"]["global_feature"], expected)
    sources = [Path(entry["path"]).name for entry in records.manifest["sources"]]
    assert sorted(sources) == sorted({path.name for path in (tmp_path / "f8k").iterdir()})
    both = (*source(tmp_path / "f8k"), *options.captions)
    with pytest.raises(InputError, match="only source"):
        build(options, captions=both, folder=tmp_path / "both")


def test_words_that_were_chosen_already_are_kept(options: CaptionsOptions, tmp_path: Path) -> None:
    path = samples.write_cocotalk(tmp_path / "talk")
    records = build(options, captions=source(path), min_count=None)
    assert len(records.vocabulary()) == 3 + 8 + 1
    found = read(records)
    assert words(records, found["val2014/c.jpg"]["sentences"]) == ["a red <unk>", "a dog"]
    assert found["val2014/c.jpg"]["texts"].tolist() == [b"a red <unk>", b"a dog"]
    assert records.vocabulary().counts[-1] == 1
    fewer = build(options, captions=source(path), min_count=2, overwrite=True)
    assert fewer.vocabulary().words[3:-1] == ("a",)


def test_pictures_of_the_course_file(options: CaptionsOptions, tmp_path: Path) -> None:
    data = samples.coco_pt()
    path = samples.write_torch(tmp_path / "coco.pt", data)
    records = build(options, captions=source(path), min_count=None, backbone=RANDOM_NET)
    assert set(records.vocabulary().words[3:-1]) == {"a", "cat", "dog", "runs"}
    row = read(records)["train_2"]
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
    np.testing.assert_array_equal(pixels, data["train_images"][2].transpose(1, 2, 0))
    assert row["global_feature"].shape == (512,)
    assert words(records, row["sentences"]) == ["a dog runs <unk>"]
    without = build(options, captions=source(path), store_pixels=False, folder=tmp_path / "w")
    assert "image" not in without.feature_names


def test_pictures_of_a_tfds_set(options: CaptionsOptions, tmp_path: Path) -> None:
    samples.write_tfds(tmp_path)
    records = build(options, captions=source("my_captions", "tfds"), data_dir=tmp_path)
    assert read(records)["b.jpg"]["image"] == samples.picture(1)


def test_concepts_as_sentences(options: CaptionsOptions, tmp_path: Path) -> None:
    path = write(tmp_path / "concepts.txt", "x-1\tC0000002,C0000001\nx-2\tC0000002\n")
    records = build(options, captions=source(path, split="train"))
    assert words(records, read(records)["x-1.jpg"]["sentences"]) == ["C0000002 C0000001"]


def test_markers_in_captions_are_no_markers(options: CaptionsOptions, tmp_path: Path) -> None:
    rows = [{"id": 1, "captions": ["<S> a </S> dog <pad> <unk>", "...", "a"]}]
    path = write(tmp_path / "x.json", {"images": rows})
    records = build(options, captions=source(path, split="train"), vocabulary_rule="kiros")
    row = read(records)["1"]
    assert words(records, row["sentences"])[0] == "<unk> a <unk> dog <unk> <unk>"
    plain = build(options, captions=source(path, split="train"), overwrite=True)
    assert read(plain)["1"]["texts"].tolist() == [rows[0]["captions"][0].encode(), b"a"]
    assert plain.manifest["skipped"]["counts"] == {"empty": 1}


def test_images_without_captions_are_skipped(options: CaptionsOptions, tmp_path: Path) -> None:
    data = samples.karpathy()
    data["images"][0]["sentences"] = []
    data["images"][2]["sentences"] = [{"raw": "..."}, {"raw": " "}]
    data["images"].append({**data["images"][3], "split": "val", "filename": "e.jpg"})
    path = write(tmp_path / "x.json", data)
    records = build(options, captions=source(path))
    assert set(read(records)) == {"val2014/b.jpg", "val2014/d.jpg", "val2014/e.jpg"}
    assert records.manifest["skipped"]["counts"] == {"empty": 2, "no_caption": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": 0}, "shards=0"),
        ({"min_count": 0}, "min_count=0"),
        ({"max_length": 0}, "max_length=0"),
        ({"captions": ()}, "at least one file"),
        ({"vocabulary_rule": "glove"}, "known: neuraltalk, vsepp, kiros"),
        ({"vocabulary_splits": ("dev",)}, "vocabulary_splits has 'dev'; known: train, val, test"),
        ({"store_grid": True}, "needs a backbone"),
        ({"images": (Path("nowhere"),)}, "no folder of images nowhere"),
        ({"backbone": RANDOM_NET}, "needs pictures"),
        ({"vocabulary": Path("nowhere.txt"), "min_count": None}, "no vocabulary file nowhere"),
        ({"min_count": 9}, "vocabulary would be empty"),
    ],
)
def test_bad_options_are_named(
    options: CaptionsOptions, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(options, **changes)


def test_two_images_of_one_name(options: CaptionsOptions, tmp_path: Path) -> None:
    data = samples.karpathy()
    data["images"][2]["filename"] = "a.jpg"
    path = write(tmp_path / "x.json", data)
    with pytest.raises(InputError, match=r"named 'val2014/a.jpg': .*images\[0\] and .*images\[2\]"):
        build(options, captions=source(path))


def test_images_without_a_split(options: CaptionsOptions, tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", {"images": [{"id": 1, "captions": ["a"]}]})
    with pytest.raises(InputError, match=r"images\[0\]: the split of image"):
        build(options, captions=source(path))
    write(path, {"images": [{"id": 1, "captions": ["a"], "split": "minival"}]})
    with pytest.raises(InputError, match=r"in split 'minival'; known: train, restval"):
        build(options, captions=source(path))


def test_pictures_without_names(options: CaptionsOptions, images: Path) -> None:
    path = write(images.parent / "x.json", {"images": [{"id": 1, "captions": ["a"]}]})
    with pytest.raises(InputError, match="image '1' has no file name"):
        build(options, captions=source(path, split="train"), images=(images,))


def test_same_records_again_and_with_workers(options: CaptionsOptions, tmp_path: Path) -> None:
    splits = {"train": 6, "dev": 2}
    samples.write_caption_rows(tmp_path / "f8k", "", repeats=5, splits=splits)
    changes: dict[str, Any] = {"captions": source(tmp_path / "f8k")}
    first = build(options, **changes)
    assert build(options, **changes).manifest == first.manifest
    with pytest.raises(InputError, match="other options"):
        build(options, max_length=3, **changes)
    parallel = build(options, folder=tmp_path / "second", runner=Local(2), **changes)
    assert parallel.digest == first.digest


def test_real_flickr8k(options: CaptionsOptions, shared_data: Path) -> None:
    folder = shared_data / "flickr8k"
    records = build(
        options,
        captions=source(folder / "captions.token.txt"),
        splits={"train": folder / "train_images.txt", "val": folder / "dev_images.txt"},
        min_count=None,
    )
    assert (records.count("train"), records.count("val")) == (6000, 1000)
    assert len(records.vocabulary()) == 2272
    batch = next(iter(tf.data.TFRecordDataset(records.shards("val")).batch(100)))
    parsed = parser(records)(batch)
    assert parsed["sentences"].shape.as_list() == [100, None, None]
    assert set(parsed["texts"].row_lengths().numpy()) == {5}


def test_real_pictures(options: CaptionsOptions, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "flickr8k"
    names = (folder / "dev_images.txt").read_text().split()[:3]
    listed = {"train": write(tmp_path / "train.txt", "\n".join(names))}
    captions = source(folder / "captions.token.txt")
    (tmp_path / "pictures").mkdir()
    for name in names:
        (tmp_path / "pictures" / name).symlink_to(folder / "images" / name)
    records = build(
        options, captions=captions, splits=listed, images=(tmp_path / "pictures",), min_count=1
    )
    found = read(records)
    assert {name: row["image"] for name, row in found.items()} == {
        name: (folder / "images" / name).read_bytes() for name in names
    }
    assert {(row["height"], row["width"]) for row in found.values()} == {(224, 224)}


def test_real_coco(options: CaptionsOptions, shared_data: Path) -> None:
    mini = shared_data / "coco/mini"
    sources = [mini / f"annotations/captions_{split}2017.json" for split in ("train", "val")]
    records = build(
        options,
        captions=tuple(PairedSource(str(path)) for path in sources),
        images=(mini / "train2017", mini / "val2017"),
        min_count=None,
    )
    assert records.count("train") == 40 and records.count("val") == 40
    assert set(reasons(records).values()) == {"missing"} and len(reasons(records)) == 79
    for row in read(records).values():
        assert len(row["sentences"]) == len(row["texts"]) >= 5
        image = Image.open(io.BytesIO(row["image"]))
        assert image.size == (row["width"], row["height"])


def test_real_reports(options: CaptionsOptions, shared_data: Path) -> None:
    records = build(
        options,
        captions=source(shared_data / "iu_xray/annotation.json"),
        max_length=60,
        min_count=None,
    )
    assert [records.count(split) for split in records.splits] == [4138, 592, 1180]
    batch = parser(records)(next(iter(tf.data.TFRecordDataset(records.shards("test")).batch(2000))))
    assert batch["sentences"].row_lengths(axis=2).to_tensor().numpy().max() == 62
    assert records.manifest["options"]["cut_sentences"] == 220
