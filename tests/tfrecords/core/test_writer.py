from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfrecords.core import build_folder, shards
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example, read_frames
from tfrecords.core.records import Records, check_same_vocabulary, incomplete_folder, open_records
from tfrecords.core.runners import Local
from tfrecords.core.shards import Dropped, ShardItem, Skip
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.core.writer import write_dataset

VOCABULARY = build_vocabulary({"a": 3, "b": 2}, min_count=1)


def features() -> Any:
    return tfds.features.FeaturesDict(
        {"n": tfds.features.Scalar(tf.int64), "t": tfds.features.Text()}
    )


def numbers(begin: int, end: int) -> Iterator[ShardItem]:
    for n in range(begin, end):
        yield encode_example({"n": n, "t": f"number {n}"})
    yield Skip(f"file{end}", "unreadable", "zero bytes")
    yield Dropped("too_short", 2)


def build(folder: Path, **changes: Any) -> Records:
    arguments: dict[str, Any] = {
        "folder": folder,
        "kind": "toys",
        "name": "toy",
        "splits": {
            "train": [partial(numbers, 10 * i, 10 * i + 10) for i in range(3)],
            "val": [partial(numbers, 100, 105)],
        },
        "features": features,
        "options": {"size": 3},
        "sources": [],
        "extra_files": {"vocabulary.txt": VOCABULARY.file_bytes},
        "progress": False,
    }
    return write_dataset(**{**arguments, **changes})


def test_a_local_runner_has_a_worker() -> None:
    with pytest.raises(InputError, match="at least 1, found 0"):
        Local(0)


def test_strict_builds_refuse_what_others_skip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 inputs .* file10: unreadable \(zero bytes\)"):
        build(tmp_path / "toy", strict=True)
    early = [Skip("x.jpg", "no_concept")]
    with pytest.raises(InputError, match=r"x\.jpg: no_concept\. Correct"):
        build(tmp_path / "toy", strict=True, skipped=early)
    assert not (tmp_path / "toy").exists()
    lenient = build(tmp_path / "toy")
    with pytest.raises(InputError, match=r"4 inputs .* file10"):
        build(tmp_path / "toy", strict=True)
    assert build(tmp_path / "toy").manifest == lenient.manifest
    splits = {"train": [lambda: iter([encode_example({"n": 1, "t": ""})])]}
    assert build(tmp_path / "clean", strict=True, splits=splits).count("train") == 1


def test_strict_builds_refuse_wrong_inputs_that_are_only_counted(tmp_path: Path) -> None:
    one = encode_example({"n": 1, "t": ""})
    asked_for = {"train": [lambda: iter([one, Dropped("duplicate", 5)])]}
    assert build(tmp_path / "asked", strict=True, splits=asked_for).count("train") == 1
    found = {"train": [lambda: iter([one, Dropped("box_inverted", 2)])]}
    for early, splits in (({"box_inverted": 2}, asked_for), ({}, found)):
        with pytest.raises(InputError, match=r"strict: 2 box_inverted\. Correct"):
            build(tmp_path / "toy", strict=True, splits=splits, dropped=early)
    assert build(tmp_path / "toy", splits=found).count("train") == 1
    with pytest.raises(InputError, match="strict: 2 box_inverted"):
        build(tmp_path / "toy", strict=True, splits=found)


def values(records: Records, split: str) -> list[int]:
    found = []
    for path in records.shards(split):
        with Path(path).open("rb") as stream:
            for record in read_frames(stream, path):
                example = tf.train.Example.FromString(record)
                found.append(example.features.feature["n"].int64_list.value[0])
    return found


def test_what_is_written_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("hello")
    records = build(tmp_path / "out", sources=[source])
    assert records.splits == ("train", "val")
    assert (records.count("train"), records.count("val")) == (30, 5)
    assert [Path(p).name for p in records.shards("train")] == [
        f"toy-train.tfrecord-0000{i}-of-00003" for i in range(3)
    ]
    assert values(records, "train") == list(range(30))
    assert records.feature_names == ("n", "t")
    assert records.vocabulary() == VOCABULARY
    assert records.vocabulary_sha256 == VOCABULARY.sha256
    assert records.concepts_sha256 is None
    assert records.manifest["sources"][0]["bytes"] == 5
    assert records.manifest["skipped"]["counts"] == {"too_short": 8, "unreadable": 4}
    assert records.manifest["skipped"]["list"][0]["source"] == "file10"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source.txt"]
    assert not (tmp_path / "out" / ".state").exists()
    assert open_records(tmp_path / "out", verify="sha256") == records


def test_tfds_opens_it(tmp_path: Path) -> None:
    build(tmp_path / "out")
    dataset = tfds.builder_from_directory(str(tmp_path / "out")).as_dataset(split="train")
    rows = [(int(row["n"]), row["t"].numpy().decode()) for row in dataset]
    assert sorted(rows) == [(n, f"number {n}") for n in range(30)]


def test_many_skips_go_into_a_file(tmp_path: Path) -> None:
    skips = [Skip(f"file{i}", "bad") for i in range(1200)]
    records = build(tmp_path / "out", skipped=skips, dropped={"duplicate": 4})
    assert len(records.manifest["skipped"]["list"]) == 1000
    assert records.manifest["skipped"]["counts"]["duplicate"] == 4
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == 1204 and json.loads(lines[1199])["source"] == "file1199"


def test_finished_folder_is_reused_or_refused_or_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = build(folder)
    marker = folder / "toy-val.tfrecord-00000-of-00001"
    before = marker.stat().st_mtime_ns
    assert build(folder) == first and marker.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other options or sources"):
        build(folder, options={"size": 4})
    again = build(folder, options={"size": 4}, overwrite=True)
    assert again.manifest["options"] == {"size": 4}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_changed_source_is_another_build(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("hello")
    build(tmp_path / "out", sources=[source])
    source.write_text("hallo")
    with pytest.raises(InputError, match="other options or sources"):
        build(tmp_path / "out", sources=[source])


def test_damaged_finished_folder_needs_overwrite(tmp_path: Path) -> None:
    records = build(tmp_path / "out")
    Path(records.shards("train")[1]).write_bytes(b"")
    with pytest.raises(InputError, match=r"is empty: 0 bytes.*overwrite"):
        build(tmp_path / "out")
    assert values(build(tmp_path / "out", overwrite=True), "train") == list(range(30))


def test_records_of_another_kind_are_not_replaced(tmp_path: Path) -> None:
    build(tmp_path / "out")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="contains 'toys' records, not 'images' records"):
            build(tmp_path / "out", kind="images", overwrite=overwrite)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["toy-train.tfrecord-00000-of-00001"], "; copy it again from an intact copy"),
        (["captions/manifest.json"], "did you mean {}/captions?"),
        ([], r"\(it contains nothing\); give a folder written by r2m-build-"),
    ],
)
def test_a_folder_without_a_manifest_says_what_it_is(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=message.replace("{}", str(tmp_path))):
        open_records(tmp_path)


def test_a_foreign_folder_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="exists, but is not a folder of finished records"):
            build(folder, overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "is empty: 0 bytes"),
        (lambda path: os.truncate(path, 100), "was cut short: 100 bytes"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has grown"),
    ],
)
@pytest.mark.parametrize("name", ["toy-train.tfrecord-00001-of-00003", "features.json"])
def test_damaged_files_are_found(tmp_path: Path, damage: Any, message: str, name: str) -> None:
    build(tmp_path / "out")
    damage(tmp_path / "out" / name)
    with pytest.raises(InputError, match=f"{name} {message}"):
        open_records(tmp_path / "out")


def test_a_flipped_byte_is_found_by_sha256(tmp_path: Path) -> None:
    records = build(tmp_path / "out")
    path = Path(records.shards("val")[0])
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    open_records(tmp_path / "out")
    with pytest.raises(InputError, match=f"{path.name} has changed"):
        open_records(tmp_path / "out", verify="sha256")


def test_wrong_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        open_records(tmp_path / "none")
    incomplete_folder(tmp_path / "half").mkdir()
    with pytest.raises(InputError, match="unfinished build"):
        open_records(tmp_path / "half")
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match=r"has no manifest.json.*contains nothing"):
        open_records(tmp_path / "plain")
    build(tmp_path / "out")
    with pytest.raises(InputError, match="'toys' records, expected 'corpora'"):
        open_records(tmp_path / "out", kind="corpora")
    with pytest.raises(InputError, match="no split 'test'; it has train, val"):
        open_records(tmp_path / "out").shards("test")
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-5])
    with pytest.raises(InputError, match="is damaged"):
        open_records(tmp_path / "out")
    manifest.write_text("[1]")
    with pytest.raises(InputError, match="is not a manifest"):
        open_records(tmp_path / "out")


def test_a_swapped_vocabulary_is_found(tmp_path: Path) -> None:
    records = build(tmp_path / "out")
    path = tmp_path / "out" / "vocabulary.txt"
    path.write_bytes(path.read_bytes().replace(b"a\t", b"b\t", 1).replace(b"b\t2", b"a\t2"))
    with pytest.raises(InputError, match="use different vocabularies"):
        records.vocabulary()
    with pytest.raises(
        InputError, match=r"run and corpus use different vocabularies \(sha256 aaaa.* and bbbb"
    ):
        check_same_vocabulary("run", "a" * 64, "corpus", "b" * 64)
    check_same_vocabulary("run", "a" * 64, "corpus", "a" * 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Toy-1"}, "name 'Toy-1' cannot be used"),
        ({"splits": {"a b": [partial(numbers, 0, 1)]}}, "split 'a b' cannot be used"),
        ({"splits": {"train": []}}, "has no shard"),
        ({"splits": {}}, "no split to write"),
        ({"splits": {"train": [partial(numbers, 3, 3)]}}, "be empty; left out: 2 too_short, 1 un"),
        ({"sources": ["none.txt"]}, "there is no source file none.txt"),
    ],
)
def test_bad_requests(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


class FullDisk:
    """Lets some records through, then behaves like a full disk."""

    def __init__(self, records: int) -> None:
        self.left = records

    def __call__(self, record: bytes) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return frame(record)


frame = shards.frame_record


def test_full_disk_keeps_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(tmp_path / "whole")
    monkeypatch.setattr(shards, "frame_record", FullDisk(25))
    with pytest.raises(InputError, match=r"no space left for .*free; 2 of 4 shards are written"):
        build(tmp_path / "out")
    incomplete = incomplete_folder(tmp_path / "out")
    left = sorted(p.name for p in incomplete.iterdir() if p.name != ".state")
    assert left == [f"toy-train.tfrecord-0000{i}-of-00003" for i in range(2)]
    # Room for the missing 15 records only: the finished shards are not written again.
    monkeypatch.setattr(shards, "frame_record", FullDisk(15))
    resumed = build(tmp_path / "out")
    assert resumed.manifest["splits"] == whole.manifest["splits"]
    assert resumed.manifest["skipped"] == whole.manifest["skipped"]


@pytest.mark.parametrize("damage", ["shard", "note", "options"])
def test_damaged_leftovers_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(shards, "frame_record", FullDisk(25))
    with pytest.raises(InputError, match="no space left"):
        build(tmp_path / "out")
    monkeypatch.setattr(shards, "frame_record", frame)
    incomplete = incomplete_folder(tmp_path / "out")
    shard = incomplete / "toy-train.tfrecord-00000-of-00003"
    if damage == "shard":
        data = bytearray(shard.read_bytes())
        data[20] ^= 1
        shard.write_bytes(data)
    elif damage == "note":
        (incomplete / ".state" / f"{shard.name}.json").write_text("{")
    (incomplete / "stray.tmp-77").write_text("half")
    options = {"size": 4} if damage == "options" else {"size": 3}
    records = build(tmp_path / "out", options=options)
    assert values(records, "train") == list(range(30))
    assert not (tmp_path / "out" / "stray.tmp-77").exists()


def test_two_builds_of_one_folder(tmp_path: Path) -> None:
    def nested() -> Iterator[ShardItem]:
        with pytest.raises(InputError, match="another process is building"):
            build(tmp_path / "out")
        yield from numbers(0, 3)

    splits = {"train": [nested]}
    assert build(tmp_path / "out", splits=splits).count("train") == 3


def test_a_crash_between_the_two_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    old = build(folder)
    rename = Path.rename

    def die_at_the_second(path: Path, target: Path) -> Path:
        if path == incomplete_folder(folder):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(build_folder.Path, "rename", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        build(folder, options={"size": 9}, overwrite=True)
    assert not folder.exists()
    monkeypatch.undo()
    assert build(folder) == old
    assert build(folder, options={"size": 9}, overwrite=True).manifest["options"] == {"size": 9}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_folders_as_sources_are_listed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"123")
    records = build(tmp_path / "out", sources=[images])
    described = records.manifest["sources"][0]
    assert (described["files"], described["bytes"]) == (1, 3)
    (images / ".DS_Store").write_bytes(b"what a file manager writes")
    build(tmp_path / "out", sources=[images])
    # Images are read through links to folders, too.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").write_bytes(b"4")
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="other options or sources"):
        build(tmp_path / "out", sources=[images])
