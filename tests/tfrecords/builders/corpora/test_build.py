from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.builders.corpora import sorting
from tfrecords.builders.corpora.build import CorporaOptions, _validation_counts, build_corpora
from tfrecords.builders.corpora.sorting import validation_candidates
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, incomplete_folder
from tfrecords.core.runners import Local
from tfrecords.core.vocabulary import END_ID, START_ID
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.concept_counts import count_concepts
from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.label_maps import LabelMap

NOUNS = ["dog", "cat", "bus", "horse"]
PLACES = ["street", "grass", "bridge", "beach", "hill"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with 300 different sentences, some that are left out, and a label map."""
    folder = tmp_path / "raw"
    folder.mkdir()
    lines = [
        f"A {a} and two {b} stand number n{i} on the {PLACES[i % 5]}."
        for i in range(75)
        for a, b in zip(NOUNS, ["cats", "dogs", "horses", "buses"], strict=True)
    ]
    lines += ["A dog stands.", "There is nothing to see here for anyone today", lines[0].upper()]
    lines += ["A dog zig zag zog zug zeg hop"]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("dog\ncat\nbus\nhorse\nzebra\n")
    return folder


def options(raw: Path, **changes: Any) -> CorporaOptions:
    values: dict[str, Any] = {
        "folder": raw.parent / "out",
        "name": "toy",
        "sources": [TextSource(raw / "text.txt")],
        "label_maps": [raw / "classes.txt"],
        "min_count": 2,
        "shards": 3,
        "validation_fraction": 0.1,
        "max_unknown_fraction": 0.3,
    }
    return CorporaOptions(**{**values, **changes})


def rows(records: Records, split: str) -> list[dict[str, Any]]:
    ragged = tf.io.RaggedFeature(tf.int64)
    dataset = tf.data.TFRecordDataset(records.shards(split)).batch(100_000)
    parsed = next(
        iter(
            dataset.map(
                lambda batch: tf.io.parse_example(
                    batch,
                    {
                        "sentence": ragged,
                        "concepts": ragged,
                        "concept_counts": ragged,
                        "text": tf.io.FixedLenFeature([], tf.string),
                    },
                )
            )
        )
    )
    ids = [parsed[key].to_list() for key in ("sentence", "concepts", "concept_counts")]
    texts = [text.decode() for text in parsed["text"].numpy()]
    keys = ("sentence", "concepts", "counts", "text")
    return [dict(zip(keys, row, strict=True)) for row in zip(*ids, texts, strict=True)]


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of everything but the manifest, which holds a time."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}


def test_labels_of_images_are_concepts(raw: Path) -> None:
    (raw / "labels.csv").write_text("image,labels\na.jpg,dog;School Bus\nb.jpg,dog\n")
    records = build_corpora(options(raw, label_maps=[raw / "labels.csv"]), progress=False)
    concepts = json.loads((records.folder / "concepts.json").read_text())
    assert concepts["words"] == ["bus", "dog"]
    assert concepts["classes"] == {"dog": ["dog"], "school bus": ["bus"]}
    assert min(concepts["counts"].values()) > 100


def test_records_say_what_the_sentences_say(raw: Path) -> None:
    records = build_corpora(options(raw), progress=False)
    assert records.kind == "corpora"
    assert (records.count("train"), records.count("val")) == (270, 30)
    vocabulary = records.vocabulary()
    every = rows(records, "train") + rows(records, "val")
    assert len({row["text"] for row in every}) == 300
    row = next(
        row for row in every if row["text"].startswith("A dog and two cats stand number n7 ")
    )
    assert row["sentence"][0] == START_ID and row["sentence"][-1] == END_ID
    assert vocabulary.decode(row["sentence"]) == (
        "a dog and two cats stand number n7 on the bridge"
    )
    assert [vocabulary.words[i] for i in row["concepts"]] == ["dog", "cat"]
    assert row["counts"] == [1, 2]
    assert records.manifest["skipped"]["counts"] == {
        "duplicate": 1,
        "no_concept": 1,
        "too_many_unknown": 1,
        "too_short": 1,
    }
    concepts = json.loads((records.folder / "concepts.json").read_text())
    assert concepts["counts"] == {"bus": 150, "cat": 150, "dog": 151, "horse": 150, "zebra": 0}
    assert "zebra" in vocabulary


def test_tfds_opens_it(raw: Path) -> None:
    records = build_corpora(options(raw), progress=False)
    builder = tfds.builder_from_directory(str(records.folder))
    texts = {row["text"].numpy().decode() for row in builder.as_dataset(split="val")}
    assert texts == {row["text"] for row in rows(records, "val")}


def test_workers_and_parts_do_not_change_the_bytes(raw: Path) -> None:
    alone = build_corpora(options(raw, folder=raw.parent / "alone"), progress=False)
    several = build_corpora(
        options(raw, folder=raw.parent / "several", runner=Local(2)), progress=False
    )
    assert content(alone.folder) == content(several.folder)


def test_seed_changes_order_and_validation(raw: Path) -> None:
    texts = []
    for seed in (0, 1):
        folder = raw.parent / f"seed{seed}"
        records = build_corpora(options(raw, folder=folder, seed=seed), progress=False)
        texts.append([row["text"] for row in rows(records, "val")])
    assert set(texts[0]) != set(texts[1])


def test_options_do_what_they_say(raw: Path) -> None:
    records = build_corpora(
        options(
            raw,
            min_words=3,
            require_concept=False,
            deduplicate=False,
            keep_punctuation=True,
            fold_plurals=True,
            max_unknown_fraction=1.0,
            validation_fraction=0.0,
        ),
        progress=False,
    )
    assert records.splits == ("train",) and records.count("train") == 304
    assert records.manifest["skipped"]["counts"] == {}
    vocabulary = records.vocabulary()
    assert "dogs" not in vocabulary and "." in vocabulary
    row = next(r for r in rows(records, "train") if "A dog and two cats stand" in r["text"])
    assert "two cat stand" in vocabulary.decode(row["sentence"]) and row["counts"] == [1, 2]


def test_glove_list_limits_the_words(raw: Path) -> None:
    glove = raw / "glove.txt"
    glove.write_text("stand 0.1 0.2\nthe 0.3 0.1\n")
    changes = {"glove": glove, "max_unknown_fraction": 1.0}
    vocabulary = build_corpora(options(raw, **changes), progress=False).vocabulary()
    assert set(vocabulary.words[3:-1]) == {"stand", "the", *NOUNS, "zebra"}
    glove.write_text("nothing 0.1\n")
    with pytest.raises(InputError, match="none of its 1 words is in the corpus"):
        build_corpora(options(raw, folder=raw / "o", **changes), progress=False)


COUNTED = build_concept_dictionary([LabelMap("toy", {1: "dog", 2: "person", 3: "bus"})])


@pytest.mark.parametrize(
    ("sentence", "counts"),
    [
        ("a dog", {"dog": 1}),
        ("dogs", {"dog": 2}),
        ("three dogs and a dog", {"dog": 3}),
        ("ten dogs", {"dog": 9}),
        ("a group of dogs", {"dog": 3}),
        ("lots of people on the 4 bus", {"person": 3, "bus": 1}),
        ("4 buses", {"bus": 4}),
        ("a man and two dogs", {"person": 1, "dog": 2}),
        ("of dogs", {"dog": 2}),
        ("nothing", {}),
    ],
)
def test_how_many_of_each_concept(sentence: str, counts: dict[str, int]) -> None:
    found = count_concepts(sentence.split(), COUNTED)
    assert found == counts and list(found) == list(counts)


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=9), st.floats(0, 0.99))
def test_validation_is_exactly_the_fraction(counts: list[int], fraction: float) -> None:
    total = sum(counts)
    if not total:
        return
    taken = _validation_counts(counts, fraction)
    wanted = round(total * fraction)
    assert sum(taken) == (min(max(wanted, 1), total - 1) if fraction and total > 1 else wanted)
    for count, share in zip(counts, taken, strict=True):
        assert 0 <= share <= validation_candidates(count, fraction)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"min_words": 50},
            r"none of the 304 sentences read is usable.*304 too_short.*lower --min_words",
        ),
        ({"max_unknown_fraction": 0.0, "min_count": 1000}, "would be empty.*min_count"),
        ({"min_count": 0}, "min_count=0 must be at least 1"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"max_unknown_fraction": 2.0}, "max_unknown_fraction must be in 0..1"),
        ({"sources": []}, "no source"),
        ({"sources": [TextSource(Path("none.txt"))]}, "there is no source file none.txt"),
    ],
)
def test_bad_requests(raw: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_corpora(options(raw, **changes), progress=False)
    assert not (raw.parent / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_malformed_line_is_named(raw: Path, workers: int) -> None:
    path = raw / "bad.tsv"
    path.write_text("a dog on a hill\thttp://x.org\nno url\n")
    sources = [TextSource(raw / "text.txt"), TextSource(path)]
    with pytest.raises(InputError, match=r"bad\.tsv:2: not a line of reader 'gcc'"):
        build_corpora(options(raw, sources=sources, runner=Local(workers)), progress=False)


def test_full_disk_in_the_first_pass(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, report: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sorting, "_write_note", full)
    with pytest.raises(InputError, match=r"no space left for .*out"):
        build_corpora(options(raw), progress=False)


KILLED = """
import os, signal, sys
from pathlib import Path
import tests_options
module, name, calls = sys.argv[2:]
owner = __import__(module, fromlist=[name])
original, left = getattr(owner, name), int(calls)

def dying(*args, **kwargs):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

setattr(owner, name, dying)
tests_options.build(Path(sys.argv[1]))
"""

BUILD = """
from pathlib import Path
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.formats.text.sources import TextSource
from tfrecords.core.runners import Local

def build(raw, workers=1):
    build_corpora(CorporaOptions(
        folder=raw.parent / "out", name="toy", sources=[TextSource(raw / "text.txt")],
        label_maps=[raw / "classes.txt"], min_count=2, shards=3, validation_fraction=0.1,
        max_unknown_fraction=0.3, runner=Local(workers)), progress=False)
"""


def python_in(folder: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    (folder / "tests_options.py").write_text(BUILD)
    (folder / "script.py").write_text(script)
    root = Path(__file__).resolve().parents[4]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"}
    return subprocess.Popen([sys.executable, folder / "script.py", *arguments], env=environment)


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        ("tfrecords.builders.corpora.sorting", "tokenize", 100),
        ("tfrecords.builders.corpora.sorting", "_count", 1),
        ("tfrecords.core.shards", "frame_record", 150),
        ("tfrecords.core.writer", "publish", 0),
    ],
)
def test_a_killed_build_goes_on(
    raw: Path, tmp_path: Path, module: str, name: str, calls: int
) -> None:
    whole = build_corpora(options(raw, folder=tmp_path / "whole"), progress=False)
    process = python_in(tmp_path, KILLED, str(raw), module, name, str(calls))
    assert process.wait(timeout=120) == -signal.SIGKILL
    incomplete = incomplete_folder(tmp_path / "out")
    kept = {path: path.stat().st_mtime_ns for path in incomplete.glob("toy-*.tfrecord-*-of-00003")}
    assert len(kept) == {"frame_record": 1, "publish": 3}.get(name, 0)
    resumed = build_corpora(options(raw), progress=False)
    assert content(resumed.folder) == content(whole.folder)
    for path, modified in kept.items():
        assert (resumed.folder / path.name).stat().st_mtime_ns == modified


SLOW = """
import sys, time
from pathlib import Path
import tests_options
from tfrecords.formats.text import reading

if __name__ == "__main__":
    tests_options.build(Path(sys.argv[1]), workers=2)
"""


def test_workers_end_with_a_killed_parent(raw: Path, tmp_path: Path) -> None:
    line = (raw / "text.txt").read_text().splitlines()[0]
    (raw / "text.txt").write_text("".join(f"{line} again x{i}\n" for i in range(200_000)))
    process = python_in(tmp_path, SLOW, str(raw))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this kernel does not list the children of a process")
    deadline = time.monotonic() + 60
    workers: list[str] = []
    scratch = incomplete_folder(tmp_path / "out") / ".state" / "scratch"
    while time.monotonic() < deadline and not list(scratch.glob("part-*.tmp-*")):
        time.sleep(0.05)
    workers = children.read_text().split()
    process.kill()
    process.wait()
    assert len(workers) >= 2
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_real_corpus(shared_data: Path, tmp_path: Path) -> None:
    records = build_corpora(
        CorporaOptions(
            folder=tmp_path / "coco",
            name="coco",
            sources=[TextSource(shared_data / "coco" / "captions_val2017.json")],
            label_maps=[shared_data / "label_maps" / "mscoco_label_map.pbtxt"],
            min_count=5,
        ),
        progress=False,
    )
    left_out = sum(records.manifest["skipped"]["counts"].values())
    assert records.count("train") + records.count("val") + left_out == 25014
    assert records.count("val") in range(150, 260)
    vocabulary = records.vocabulary()
    assert vocabulary.words[3] == "a" and 1500 < len(vocabulary) < 3000
    texts = set()
    for row in rows(records, "train") + rows(records, "val"):
        assert row["concepts"] and vocabulary.unk_id not in row["concepts"]
        assert len(row["counts"]) == len(row["concepts"]) == len(set(row["concepts"]))
        assert len(row["sentence"]) >= 10
        texts.add(row["text"])
    assert len(texts) == records.count("train") + records.count("val")


def test_a_folder_as_source_is_known_by_its_files(raw: Path) -> None:
    folder = raw / "folder"
    folder.mkdir()
    lines = (raw / "text.txt").read_text().splitlines(keepends=True)
    (folder / "a.txt").write_text("".join(lines[:150]))
    (folder / "b.txt").write_text("".join(lines[150:]))
    (folder / ".c.txt").write_text("A dog and two cats stand unseen on the bridge.\n")
    records = build_corpora(options(raw, sources=[TextSource(folder)]), progress=False)
    alone = build_corpora(options(raw, folder=raw.parent / "alone"), progress=False)
    for split in ("train", "val"):
        assert {row["text"] for row in rows(records, split)} == {
            row["text"] for row in rows(alone, split)
        }
    paths = [source["path"] for source in records.manifest["sources"]]
    assert paths[:2] == [str(folder / "a.txt"), str(folder / "b.txt")]
    assert records.manifest["options"]["readers"] == ["text", "text"]
    # The same size, another sentence.
    (folder / "b.txt").write_text("".join(lines[150:]).replace("bridge", "meadow"))
    with pytest.raises(InputError, match="other options or sources"):
        build_corpora(options(raw, sources=[TextSource(folder)]), progress=False)
