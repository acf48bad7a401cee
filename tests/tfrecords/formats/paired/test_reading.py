from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import paired_samples as samples
import pytest
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import UNK
from tfrecords.formats.paired.reading import (
    FORMATS,
    PairedSource,
    UnknownFormatError,
    detect_format,
    read_paired,
)
from tfrecords.formats.paired.types import Caption, PairedDataset


def read(path: Path | str, format: str = "auto", split: str | None = None) -> PairedDataset:
    return read_paired(PairedSource(str(path), format, split))


def texts(dataset: PairedDataset) -> dict[str, list[str]]:
    return {image.image_id: [c.text for c in image.captions] for image in dataset.images}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return samples.write_all(tmp_path / "files")


EXPECTED = {name: captions for name, (_, _, captions) in samples.IMAGES.items()}


def test_every_format_is_recognized(files: dict[str, Path], tmp_path: Path) -> None:
    files["tfds"] = samples.write_tfds(tmp_path)
    assert {name: detect_format(path) for name, path in files.items()} == {n: n for n in files}
    assert {"auto", *files} == set(FORMATS)
    assert detect_format(files["cocotalk"].parent) == "cocotalk"


def test_karpathy(files: dict[str, Path]) -> None:
    dataset = read(files["karpathy"])
    assert texts(dataset) == {f"val2014/{name}": found for name, found in EXPECTED.items()}
    first = dataset.images[0]
    assert (first.source_id, first.file, first.split) == ("11", "val2014/a.jpg", "train")
    assert first.captions[0] == Caption("A dog runs .", ("a", "dog", "runs"), 100)
    assert first.place == f"{files['karpathy']}:1: images[0]"


def test_json_like_karpathys(tmp_path: Path) -> None:
    """Ids that are not COCO's, other names of the file, no split, captions as plain text."""
    sentences = ["Big heart", {"tokens": ["no", "x y"]}]
    images = [
        {"id": "CXR1_IM-1", "file_path": "CXR1_IM-1/0.png", "sentences": [{"raw": "Clear"}]},
        {"imgid": 7, "filename": "b.png", "captions": sentences},
        {"imgid": 8, "id": 9, "captions": []},
        {"cocoid": 3, "imgid": 4, "file_name": "/abs/../c.png", "captions": [" "]},
    ]
    path = write(tmp_path / "dataset_labels.json", {"images": images})
    dataset = read(path)
    assert [(i.image_id, i.source_id, i.file, i.split) for i in dataset.images] == [
        ("CXR1_IM-1/0.png", "CXR1_IM-1", "CXR1_IM-1/0.png", None),
        ("b.png", "7", "b.png", None),
        ("8", "8", None, None),
        ("c.png", "3", "c.png", None),
    ]
    assert dataset.images[1].captions[1] == Caption("no x y", ("no", "x", "y"))
    assert [(skip.source, skip.reason) for skip in dataset.skipped] == [
        (f"{path}:1: images[3]", "empty")
    ]
    assert {image.split for image in read(path, split="train").images} == {"train"}


def test_generated_captions_whose_ids_are_file_names(tmp_path: Path) -> None:
    rows = [
        {"image_id": "dogs/a.jpg", "caption": "a dog", "value": 1.2, "captions": ["a dog"]},
        {"image_id": "12", "caption": "a cat", "captions": ["a cat"]},
        {"file_name": "c.png", "image_id": "d.png", "caption": "a bird"},
        # `id` is the number of the caption, as in COCO's annotations.
        {"image_id": "e.jpg", "id": 1, "caption": "a cow"},
        {"image_id": "e.jpg", "id": 2, "caption": "a bull"},
    ]
    (tmp_path / "selected.json").write_text(json.dumps(rows))
    images = read_paired(PairedSource(str(tmp_path / "selected.json"), "json_list")).images
    assert [image.file for image in images] == ["dogs/a.jpg", None, "c.png", "e.jpg"]
    assert images[1].image_id == "12"
    assert len(images[3].captions) == 2


def test_coco(files: dict[str, Path]) -> None:
    dataset = read(files["coco"])
    assert {name: sorted(found) for name, found in texts(dataset).items()} == {
        name: sorted(captions) for name, captions in EXPECTED.items()
    }
    first = dataset.images[0]
    assert (first.source_id, first.split, first.height, first.width) == ("11", "val", 16, 24)
    assert [caption.caption_id for caption in first.captions] == [1101, 1100]
    # What is said before the path wins over the name of the file.
    assert read(files["coco"], split="test").images[0].split == "test"


@pytest.mark.parametrize(
    "content",
    [
        samples.flickr_lines(),
        "image,caption\n"
        'a.jpg,A dog runs .\na.jpg,Two dogs\nb.jpg,"A man , sitting"\nc.jpg,A red car .\n'
        "c.jpg,a dog\nd.jpg,A child\n",
        # Commas without quotes in the last column, more columns, Windows line ends.
        "image_name,comment_number,comment\r\n"
        "a.jpg,0,A dog runs .\r\na.jpg,1,Two dogs\r\nb.jpg,0,A man , sitting\r\n"
        "c.jpg,0,A red car .\r\nc.jpg,1,a dog\r\n\r\nd.jpg,0,A child",
        # results.csv of Flickr30k, with its one line that lacks a bar.
        "image_name| comment_number| comment\n"
        "a.jpg| 0| A dog runs .\na.jpg| 1| Two dogs\nb.jpg| 0| A man , sitting\n"
        "c.jpg| 0   A red car .\nc.jpg| 1| a dog\nd.jpg| 0| A child\n",
        "\ufeffa.jpg#0\tA dog runs .\nb.jpg#0\tA man , sitting\na.jpg#1\tTwo dogs\n"
        "c.jpg#1\tA red car .\nc.jpg#2\ta dog\nd.jpg#0\tA child\n",
    ],
)
def test_flickr(tmp_path: Path, content: str) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(content, encoding="utf-8", newline="")
    assert detect_format(path) == "flickr"
    assert texts(read(path)) == EXPECTED


def test_other_line_breaks_belong_to_the_caption(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("a.jpg#1\tA\u2028dog\n".encode())
    assert texts(read(path, "flickr")) == {"a.jpg": ["A\u2028dog"]}


def test_xray(files: dict[str, Path]) -> None:
    dataset = read(files["xray"])
    assert [(i.image_id, i.source_id, i.split) for i in dataset.images[:3]] == [
        ("CXR0_IM-0001/0.png", "CXR0_IM-0001", "train"),
        ("CXR0_IM-0001/1.png", "CXR0_IM-0001", "train"),
        ("CXR1_IM-0001/0.png", "CXR1_IM-0001", "val"),
    ]
    assert dataset.images[0].captions == dataset.images[1].captions
    assert dataset.images[0].captions[0].text == "The heart is normal. No effusion."


def test_mimic_and_studies_without_pictures(tmp_path: Path) -> None:
    row = {"id": "02aa804e", "study_id": 50414267, "subject_id": 10000032, "report": "No effusion."}
    mimic = {
        "train": [{**row, "image_path": ["p10/p10000032/s50414267/02aa804e.jpg"]}],
        "validate": [{**row, "image_path": []}],
        "test": [{**row, "image_path": "x.jpg", "report": ""}],
    }
    dataset = read(write(tmp_path / "mimic.json", mimic))
    assert [(i.image_id, i.split, len(i.captions)) for i in dataset.images] == [
        ("p10/p10000032/s50414267/02aa804e.jpg", "train", 1),
        ("02aa804e", "validate", 1),
        ("x.jpg", "test", 0),
    ]
    assert [skip.reason for skip in dataset.skipped] == ["empty"]


def test_imageclef(files: dict[str, Path], tmp_path: Path) -> None:
    dataset = read(files["imageclef"])
    assert texts(dataset) == {"1471-2-1.jpg": ["A scan of a chest ."], "b-2.jpg": ["Bones"]}
    assert dataset.images[0].source_id == "1471-2-1"
    concepts = tmp_path / "concepts.txt"
    concepts.write_text(
        "x-1\tC0040405,C0030705\nx-2\tC0000001;C0000002\nx-3\t\nx-4.png\tC0000003\n"
    )
    dataset = read(concepts)
    assert [image.captions for image in dataset.images] == [
        (Caption("C0040405 C0030705", ("C0040405", "C0030705")),),
        (Caption("C0000001 C0000002", ("C0000001", "C0000002")),),
        (),
        (Caption("C0000003", ("C0000003",)),),
    ]
    assert dataset.images[-1].image_id == "x-4.png"
    assert [(s.source, s.reason) for s in dataset.skipped] == [(f"{concepts}:3", "empty")]


@pytest.mark.parametrize("form", ["zip", "legacy", "npz", "npz packed"])
def test_coco_pt(tmp_path: Path, form: str) -> None:
    data = samples.coco_pt()
    if form.startswith("npz"):
        path = tmp_path / "coco.npz"
        arrays = {key: value for key, value in data.items() if key != "vocab"}
        save = np.savez if form == "npz" else np.savez_compressed
        save(path, idx_to_token=np.array(data["vocab"]["idx_to_token"]), **arrays)
    else:
        path = samples.write_torch(tmp_path / "coco.pt", data, legacy=form == "legacy")
    dataset = read(path)
    assert dataset.words == ("a", "dog", "cat", "runs")
    assert [(i.image_id, i.split) for i in dataset.images] == [
        *((f"train_{row}", "train") for row in range(3)),
        *((f"val_{row}", "val") for row in range(2)),
    ]
    assert dataset.images[1].captions[0].tokens == ("a", "cat", "runs", UNK)
    assert (dataset.images[0].height, dataset.images[0].width) == (4, 5)
    for row, image in enumerate(dataset.images[:3]):
        assert image.read is not None
        pixels = np.asarray(Image.open(io.BytesIO(image.read())))
        np.testing.assert_array_equal(pixels, data["train_images"][row].transpose(1, 2, 0))


def test_cocotalk(files: dict[str, Path]) -> None:
    for path in (files["cocotalk"], files["cocotalk"].parent):
        dataset = read(path)
        assert texts(dataset) == {
            "val2014/a.jpg": ["a dog runs", "two dogs"],
            "val2014/b.jpg": [f"a man {UNK}"],
            "val2014/c.jpg": [f"a red {UNK}", "a dog"],
            "val2014/d.jpg": ["a child"],
        }
        assert dataset.words == ("a", "dog", "runs", "two", "dogs", "man", "red", "child")
        first = dataset.images[0]
        assert (first.source_id, first.file, first.split) == ("11", "val2014/a.jpg", "train")
        assert [caption.caption_id for caption in dataset.images[2].captions] == [3, 4]
        assert [path.name for path in dataset.files] == ["cocotalk.json", "cocotalk_label.h5"]


def test_cocotalk_of_subwords(files: dict[str, Path]) -> None:
    path = files["cocotalk"]
    data = json.loads(path.read_text().replace('"runs"', '"do@@"'))
    dataset = read(write(path, {**data, "bpe": "merges"}))
    assert dataset.images[0].captions[0].tokens == ("a", "dog", "do@@")
    path.write_text(path.read_text().replace('"dog"', '"do@@"', 1))
    assert read(path).images[0].captions[0].text == "a dodo@@"


@pytest.mark.parametrize(("prefix", "repeats"), [("f8k_", 5), ("", 5), ("", 1)])
def test_caption_rows(tmp_path: Path, prefix: str, repeats: int) -> None:
    splits = {"train": 3, "dev": 2}
    vectors = samples.write_caption_rows(tmp_path, prefix, repeats=repeats, splits=splits)
    dataset = read(tmp_path)
    assert [(i.image_id, i.split, len(i.captions)) for i in dataset.images] == [
        (f"{prefix}{split}_{row}", split, 5) for split in splits for row in range(splits[split])
    ]
    assert dataset.images[1].captions[2] == Caption("A train Dog 1 2 .", None, 7)
    assert dataset.features is not None
    assert dataset.features.shapes == {"global_feature": (3,)}
    assert dataset.features.keys() == [image.image_id for image in dataset.images]
    for image in dataset.images:
        found = dataset.features.get("unknown", image.image_id)
        expected = vectors[str(image.split)][int(image.image_id.rpartition("_")[2])]
        assert found is not None
        np.testing.assert_array_equal(found.global_feature, expected)
    assert dataset.features.get(f"{prefix}train_99", "train") is None


def test_one_caption_an_image(tmp_path: Path) -> None:
    (tmp_path / "train_caps.txt").write_text("A\n\nC\nD\nE")
    np.save(tmp_path / "train_ims.npy", np.arange(10, dtype=np.float32).reshape(5, 2))
    dataset = read(tmp_path)
    assert [len(image.captions) for image in dataset.images] == [1, 0, 1, 1, 1]
    found = dataset.features and dataset.features.get("train_2")
    assert found and found.global_feature is not None and found.global_feature.tolist() == [4, 5]


def test_rows_that_are_not_repeated_are_noticed(tmp_path: Path) -> None:
    samples.write_caption_rows(tmp_path, "", repeats=5, splits={"train": 2})
    rows = np.load(tmp_path / "train_ims.npy")
    rows[7] += 1
    np.save(tmp_path / "train_ims.npy", rows)
    with pytest.raises(InputError, match=r"train_ims\.npy: rows 5 to 9 differ"):
        read(tmp_path)


def test_tfds(tmp_path: Path) -> None:
    folder = samples.write_tfds(tmp_path)
    for source in (PairedSource("my_captions", "tfds"), PairedSource(str(folder))):
        dataset = read_paired(source, data_dir=tmp_path)
        assert texts(dataset) == EXPECTED
        by_id = {image.image_id: image for image in dataset.images}
        for number, (name, (split, coco_id, _)) in enumerate(samples.IMAGES.items()):
            image = by_id[name]
            assert (image.split, image.source_id, image.file) == (split, str(coco_id), name)
            assert image.read is not None and image.read() == samples.picture(number)
        assert by_id["a.jpg"].captions[1].caption_id == 1101
        assert len(dataset.files) == 4


def test_a_set_that_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prepare it first: tfds build coco_captions"):
        read_paired(PairedSource("coco_captions", "tfds"), data_dir=tmp_path)


def test_sources_on_a_command_line() -> None:
    parse = PairedSource.parse
    assert parse("a/b.json") == PairedSource("a/b.json")
    assert parse("val=coco:x.json") == PairedSource("x.json", "coco", "val")
    assert parse("tfds:coco_captions:1.1.0") == PairedSource("coco_captions:1.1.0", "tfds")
    assert parse("my=file.json") == PairedSource("my=file.json")
    assert parse("C:x.json") == PairedSource("C:x.json")
    with pytest.raises(InputError, match="expected"):
        parse("val=coco:")


@pytest.mark.parametrize(
    ("form", "name", "content", "message"),
    [
        ("karpathy", "x.json", '{"images": [\n{"captions": 3, "id": 1}]}', r":2: images\[0\]: exp"),
        ("karpathy", "x.json", {"images": [{"sentences": []}]}, "an image without a name"),
        ("karpathy", "x.json", {"images": [{"id": 1}]}, "expected `sentences` or `captions`"),
        ("karpathy", "x.json", {"images": [3]}, "an object for an image, found 3"),
        ("karpathy", "x.json", {"images": [{"id": 1, "captions": [5]}]}, "must be text, found 5"),
        ("karpathy", "x.json", {"images": [{"id": 1, "captions": [{}]}]}, "`raw` or `tokens`"),
        ("karpathy", "x.json", {"images": [{"id": True, "captions": []}]}, "number or a name"),
        ("karpathy", "x.json", {"images": [{"filename": "..", "captions": []}]}, "relative path"),
        ("json_list", "x.json", [{"file_path": "", "captions": ["a"]}], "relative path, found ''"),
        ("karpathy", "x.json", {"images": [{"id": 1 << 70, "captions": []}]}, "number or a name"),
        ("coco", "x.json", {"annotations": [{"image_id": 1}]}, "instances_.* contains no captions"),
        ("coco", "x.json", {"annotations": [{"image_id": 1, "caption": "x"}]}, "of image 1, which"),
        ("coco", "x.json", {"images": [{"id": 1}, {"id": 1}]}, r"images\[1\]: image 1 is repeated"),
        ("coco", "x.json", {"images": [{"id": 1, "height": -1}]}, "height must be a number of pix"),
        ("coco", "x.json", '{"images": [{"id": 1, "width": NaN}]}', "width must be a number of pi"),
        ("flickr", "x.txt", "a.jpg#0\tok\nb.jpg no tab\n", r"x\.txt:2: expected `name#number"),
        ("flickr", "x.csv", "a.jpg,one,two\n", r"x\.csv:1: expected `image,caption`"),
        ("flickr", "x.csv", 'image,caption\na.jpg,"open\n', r"x\.csv:2"),
        ("flickr", "x.txt", "image| number| comment\na.jpg no\n", r"x\.txt:2: expected `image|"),
        ("flickr", "x.txt", "a\0b", "zero bytes"),
        ("flickr", "x.txt", "../#0\ta\n", "relative path"),
        ("xray", "x.json", {"train": [{"id": 1}]}, r"train\[0\]: expected a study with `report`"),
        ("xray", "x.json", {"val": [{"id": [], "report": "x"}]}, "`id` must be a number"),
        ("xray", "x.json", {"val": [{"id": 1, "report": 2}]}, "a caption must be text"),
        ("xray", "x.json", {"val": [{"id": 1, "report": "x", "image_path": 3}]}, "list of files"),
        ("imageclef", "x.txt", "a\tx\nb x\n", r"x\.txt:2: expected `id<TAB>caption`"),
        ("imageclef", "x.txt", "a\tx\na\ty\n", r"x\.txt:2: image 'a' is repeated, first .*:1"),
        ("cocotalk", "x.json", {"images": []}, "no `ix_to_word`"),
        ("cocotalk", "x.json", {"ix_to_word": {"0": "a"}}, "numbers from 1 to words, found '0'"),
        ("cocotalk", "x.json", {"ix_to_word": {"1": "a b"}}, "numbers from 1 to words"),
        ("cocotalk", "x.json", {"ix_to_word": {"1": "a"}}, r"no file of captions .*x_label\.h5"),
        ("coco_pt", "x.pt", "no pickle", "is not a complete pickle|cannot be loaded"),
        ("coco_pt", "x.npz", "no zip", r"x\.npz cannot be read as \.npz"),
        ("karpathy", "x.json", "[" * 100_000, "nested too deeply"),
        ("coco", "x.json", '{"images": [{"id": ' + "9" * 5000 + "}]}", "not valid JSON"),
        ("auto", "x.json", "[]", "has none of the known caption formats"),
        ("auto", "x.json", {"categories": []}, "has none of the known caption formats"),
        ("auto", "x.json", {"images": [{"id": 1}]}, "has the keys images"),
        ("auto", "x.txt", "a sentence a line\n", "its first line is 'a sentence a line'"),
        ("auto", "x.txt", "", "is empty"),
        ("csv", "x.txt", "", "known: auto, karpathy"),
    ],
)  # fmt: skip
def test_malformed_files_are_named(
    tmp_path: Path, form: str, name: str, content: Any, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, form)
    assert str(path.parent / "x") in str(caught.value) or form == "csv"


@pytest.mark.parametrize("form", FORMATS)
def test_missing_paths_are_named(tmp_path: Path, form: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read(tmp_path / "nowhere.json", form)


@pytest.mark.parametrize("form", [f for f in FORMATS if f not in ("kiros", "vsepp", "cocotalk")])
def test_an_empty_folder_is_no_source(tmp_path: Path, form: str) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        read(tmp_path, form)


def test_splits_are_told_once(files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="leave out val="):
        read(files["karpathy"], split="val")
    with pytest.raises(InputError, match="split 'all' is not known; known: train"):
        read(files["flickr"], split="all")
    assert issubclass(UnknownFormatError, InputError)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels", np.zeros(3, np.uint32), "found the shapes"),
        ("labels", np.zeros((6, 2), np.float32), "expected whole numbers"),
        ("labels", np.full((6, 2), 77, np.uint32), "word id 77 is not in `ix_to_word`"),
        ("label_start_ix", np.zeros(4, np.uint32), "rows of `labels`, counted from 1"),
        ("label_end_ix", np.full(4, 99, np.uint32), "rows of `labels`, counted from 1 to 6"),
        ("label_end_ix", np.zeros(3, np.uint32), r"\[4\] \(as many as the JSON has images\)"),
        ("label_end_ix", None, "lacks label_end_ix"),
    ],
)
def test_labels_that_do_not_fit(
    files: dict[str, Path], name: str, value: np.ndarray | None, message: str
) -> None:
    with h5py.File(files["cocotalk"].with_name("cocotalk_label.h5"), "a") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(InputError, match=message):
        read(files["cocotalk"])


def test_a_header_of_labels_cannot_ask_for_all_memory(files: dict[str, Path]) -> None:
    with h5py.File(files["cocotalk"].with_name("cocotalk_label.h5"), "a") as file:
        del file["labels"]
        file.create_dataset("labels", (1 << 40, 16), np.uint32, chunks=(64, 16))
    with pytest.raises(InputError, match=r"_label\.h5 .* it declares \(1099511627776, 16\)"):
        read(files["cocotalk"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_images", np.zeros((3, 4, 5, 3), np.uint8), r"found uint8 \[3, 4, 5, 3\]"),
        ("train_images", np.zeros((2, 3, 4, 5), np.uint8), "expected train_images uint8"),
        ("train_images", np.zeros((3, 3, 4, 5), np.float32), "found float32"),
        ("train_images", None, "found nothing"),
        ("val_captions", np.full((2, 7), 8, np.int64), "ids from 8 to 8, `idx_to_token` 8 words"),
        ("val_captions", np.full((2, 7), -1, np.int64), "ids from -1"),
        ("vocab", ["a"], "expected `idx_to_token`"),
        ("vocab", {"idx_to_token": ["a", "b", "c"]}, "begins with <NULL>"),
        ("vocab", {"idx_to_token": [*samples.COURSE_WORDS, "a"]}, "is repeated"),
        ("vocab", {"idx_to_token": [*samples.COURSE_WORDS, 5]}, "a list of words"),
        ("vocab", Path("x"), "cannot be loaded: it requires pathlib"),
    ],
)
def test_a_course_file_of_another_form(
    tmp_path: Path, key: str, value: Any, message: str, legacy: bool
) -> None:
    data = samples.coco_pt()
    if value is None:
        del data[key]
    else:
        data[key] = value
    with pytest.raises(InputError, match=message):
        read(samples.write_torch(tmp_path / "coco.pt", data, legacy=legacy))


def test_a_course_file_that_runs_code(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return os.system, ("false",)

    path = samples.write_torch(tmp_path / "coco.pt", {**samples.coco_pt(), "more": Command()})
    with pytest.raises(InputError, match=r"it requires posix\.system"):
        read(path)


@pytest.mark.parametrize(
    ("split", "rows", "lines", "message"),
    [
        ("train", np.zeros((4, 3), np.float32), "a\n" * 10, "has 4 rows, train_caps.txt 10 lines"),
        ("train", np.zeros(10, np.float32), "a\n" * 10, r"expected floats \[rows, D\]"),
        ("train", np.zeros((10, 2), np.int32), "a\n" * 10, r"expected floats \[rows, D\]"),
        ("dev", np.zeros((2, 4), np.float32), "a\n" * 10, r"vectors of different sizes: \[3, 4\]"),
        ("train", None, "a\n" * 10, "there is no file of features"),
        ("train", np.zeros((0, 3), np.float32), "", "has 0 rows"),
    ],
)
def test_rows_that_do_not_fit(
    tmp_path: Path, split: str, rows: np.ndarray | None, lines: str, message: str
) -> None:
    samples.write_caption_rows(tmp_path, "", repeats=5, splits={"test": 1})
    (tmp_path / f"{split}_caps.txt").write_text(lines)
    if rows is not None:
        np.save(tmp_path / f"{split}_ims.npy", rows)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_arrays_of_objects_are_not_loaded(tmp_path: Path) -> None:
    samples.write_caption_rows(tmp_path, "", repeats=5, splits={"train": 1})
    np.save(tmp_path / "train_ims.npy", np.array([[{}]] * 5, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"train_ims\.npy cannot be read as \.npy"):
        read(tmp_path)


def test_two_sets_in_one_folder(tmp_path: Path) -> None:
    for prefix in ("f8k_", "f30k_"):
        samples.write_caption_rows(tmp_path, prefix, repeats=1, splits={"dev": 1})
    with pytest.raises(InputError, match="several data sets"):
        read(tmp_path)


def test_real_files(shared_data: Path) -> None:
    for name, form, images, captions in [
        ("flickr8k/captions.token.txt", "flickr", 7000, 35000),
        ("coco/captions_val2017.json", "coco", 5000, 25014),
        ("coco/karpathy_test5k_captions.json", "karpathy", 5000, 25000),
        ("iu_xray/annotation.json", "xray", 5910, 5910),
        ("coco/mini/annotations/captions_val2017.json", "coco", 79, 395),
    ]:
        assert detect_format(shared_data / name) == form
        dataset = read(shared_data / name)
        assert len(dataset.images) == len(set(texts(dataset))) == images
        assert sum(len(image.captions) for image in dataset.images) == captions
        assert not dataset.skipped
    with pytest.raises(InputError, match=r"give captions_\*\.json"):
        read(shared_data / "coco/mini/annotations/instances_val2017.json")
