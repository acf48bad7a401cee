"""The shapes data set on disk: the same every time, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from forked_processes import run_forked
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.shapes import dataset
from tfrecords.shapes.dataset import ShapesOptions, make_shapes, plain
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import concept_words, sample_facts

_SMALL = ShapesOptions(train_images=6, val_images=3, test_images=2, sentences=50, image_size=48)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """The text of the data set at its default size, pictures kept small."""
    folder = tmp_path_factory.mktemp("shapes") / "full"
    make_shapes(folder, ShapesOptions(image_size=32))
    return folder


def _load(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    make_shapes(tmp_path / "a", _SMALL)
    # Another process, with another hash seed.
    script = (
        "from tfrecords.shapes.dataset import ShapesOptions, make_shapes; "
        f"make_shapes({str(tmp_path / 'b')!r}, {_SMALL!r})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    make_shapes(tmp_path / "c", replace(_SMALL, seed=1))
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    other = _digests(tmp_path / "c")
    same = {name for name, digest in _digests(tmp_path / "a").items() if other[name] == digest}
    assert same == {"train.txt", "val.txt", "test.txt"}


def test_texts_are_golden(tmp_path):
    """Fails when the data set changes: raise FORMAT_VERSION then, so that old folders are told."""
    make_shapes(tmp_path / "a", _SMALL)
    digests = _digests(tmp_path / "a")
    # Not the boxes and pictures: another Pillow may round an outline differently.
    golden = {"corpus.txt": "4ae75fd7b54f80c6", "captions.json": "070c006f73c4362a"}
    assert {name: digests[name][:16] for name in golden} == golden


def test_sizes_follow_the_arguments_and_files_agree(tmp_path):
    folder = tmp_path / "shapes"
    make_shapes(folder, _SMALL)
    splits = {
        name: (folder / f"{name}.txt").read_text().split() for name in ("train", "val", "test")
    }
    assert {name: len(files) for name, files in splits.items()} == {"train": 6, "val": 3, "test": 2}
    names = [name for files in splits.values() for name in files]
    assert sorted(names) == sorted(path.name for path in (folder / "images").iterdir())
    assert len((folder / "corpus.txt").read_text().splitlines()) == 50
    for name in names:
        with Image.open(folder / "images" / name) as picture:
            assert (picture.size, picture.mode) == ((48, 48), "RGB")
    for name in ("detections.json", "tags.json"):
        data = _load(folder, name)
        assert [row["file_name"] for row in data["images"]] == names
        categories = {row["id"] for row in data["categories"]}
        for row in data["annotations"]:
            left, top, width, height = row["bbox"]
            assert left >= 0 and top >= 0 and width > 0 and height > 0
            assert left + width <= 48 and top + height <= 48
            assert row["category_id"] in categories and 0.5 < row["score"] < 1
    captions = _load(folder, "captions.json")
    counts = Counter(row["image_id"] for row in captions["annotations"])
    assert counts == {image["id"]: 5 for image in captions["images"]}


def test_detections_and_tags_say_what_the_scene_is(full):
    words: dict[int, dict[str, float]] = {}
    for name in ("detections.json", "tags.json"):
        data = _load(full, name)
        categories = {row["id"]: row["name"] for row in data["categories"]}
        for row in data["annotations"]:
            words.setdefault(row["image_id"], {})[categories[row["category_id"]]] = row["score"]
    for index in range(400):
        found = words[index + 1]
        best_first = sorted(found, key=lambda word: -found[word])
        assert best_first == concept_words(sample_facts(Stream("facts", 0, "train", index)))


def test_corpus_is_disjoint_from_the_captions_and_shares_their_words(full):
    captions = {plain(row["caption"]) for row in _load(full, "captions.json")["annotations"]}
    sentences = [plain(line) for line in (full / "corpus.txt").read_text().splitlines()]
    assert len(set(sentences)) == len(sentences) == 4000
    assert not captions & set(sentences)
    assert all(len(line.split()) >= 8 for line in sentences)
    # No sentence is a caption and a few words more.
    assert not any(line.startswith(tuple(c + " " for c in captions)) for line in sentences)
    counts = Counter(word for line in sentences for word in line.split())
    rare = {word: counts[word] for text in captions for word in text.split() if counts[word] < 15}
    assert rare == {}
    assert {"dog", "rabbit", "teacher"} <= set(counts)


def test_a_larger_data_set_begins_with_the_smaller(tmp_path):
    make_shapes(tmp_path / "a", _SMALL)
    make_shapes(tmp_path / "b", replace(_SMALL, train_images=8))
    small, large = (_digests(tmp_path / name) for name in "ab")
    shared = [name for name in small if name.startswith("images/")]
    assert len(shared) == 11
    assert {name: large[name] for name in shared} == {name: small[name] for name in shared}


def test_a_second_call_keeps_what_is_there(tmp_path, monkeypatch):
    make_shapes(tmp_path / "a", _SMALL)
    monkeypatch.setattr(dataset, "_write", None)
    make_shapes(tmp_path / "a", _SMALL)
    with pytest.raises(InputError, match="seed: found 0, requested 3") as error:
        make_shapes(tmp_path / "a", replace(_SMALL, seed=3, image_size=64))
    assert "image_size: found 48, requested 64" in str(error.value)
    assert "sentences" not in str(error.value)


def test_a_changed_data_set_is_not_taken_for_whole(tmp_path):
    make_shapes(tmp_path / "a", _SMALL)
    corpus = tmp_path / "a" / "corpus.txt"
    corpus.write_bytes(corpus.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"corpus.txt was changed"):
        make_shapes(tmp_path / "a", _SMALL)
    corpus.unlink()
    with pytest.raises(InputError, match="missing"):
        make_shapes(tmp_path / "a", _SMALL)


def test_an_interrupted_run_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "_sentences", killed)
        with pytest.raises(KeyboardInterrupt):
            make_shapes(tmp_path / "a", _SMALL)
    assert not (tmp_path / "a").exists()
    make_shapes(tmp_path / "a", _SMALL)
    make_shapes(tmp_path / "b", _SMALL)
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_no_space_left_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match=r"no space left .*shapes"):
        make_shapes(tmp_path / "shapes", _SMALL)
    assert list(tmp_path.iterdir()) == []


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not a shapes data set"):
        make_shapes(tmp_path / "a", _SMALL)
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="is a file"):
        make_shapes(tmp_path / "a" / "mine.txt", _SMALL)
    (tmp_path / "empty").mkdir()
    make_shapes(tmp_path / "empty", _SMALL)
    assert (tmp_path / "empty" / "shapes.json").is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_images", 0), ("sentences", -1), ("image_size", 8), ("image_size", 5000)],
)
def test_impossible_sizes_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        make_shapes(tmp_path / "a", replace(_SMALL, **{name: value}))


def test_more_sentences_than_the_world_can_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "corpus_sentence", lambda stream: "a boat sails on the sea.")
    with pytest.raises(InputError, match=r"fewer than 50 different sentences: .* 1 were found"):
        make_shapes(tmp_path / "a", _SMALL)
    assert not (tmp_path / "a").exists()


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "r2m.cli.make_shapes", f"--output={tmp_path / 'a'}"]
    flags = [f"--{name}={value}" for name, value in asdict(_SMALL).items()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = run_forked([*command, *flags], env=environment)
    assert done.returncode == 0, done.stderr
    assert "6 + 3 + 2 pictures" in done.stderr
    again = run_forked([*command, "--seed=9"], env=environment)
    assert again.returncode == 1
    assert "error: " in again.stderr and "Traceback" not in again.stderr
