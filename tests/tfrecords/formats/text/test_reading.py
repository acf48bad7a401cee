from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats import json_stream
from tfrecords.formats.json_stream import stream_json
from tfrecords.formats.text.reading import READERS, parse_source, plan_parts, read_part
from tfrecords.formats.text.sources import TextSource


def read(path: Path, reader: str = "auto", part_bytes: int = 1 << 20) -> list[str | Skip]:
    parts = plan_parts(TextSource(path, reader), part_bytes)
    return [item for part in parts for item in read_part(part)]


def sentences(path: Path, reader: str = "auto", part_bytes: int = 1 << 20) -> list[str]:
    return [str(item).strip() for item in read(path, reader, part_bytes)]


FORMATS = {
    "text": "One dog.\nTwo dogs.\n",
    "flickr8k": "1_a.jpg#0\tOne dog.\n1_a.jpg#1\tTwo dogs.\n",
    "gcc": "One dog.\thttp://x.org/a.jpg\nTwo dogs.\thttps://x.org/b\n",
    "gcc/labels": "One dog.\thttp://x.org/a\tdog,pet\t/m/1\nTwo dogs.\thttp://x.org/b\tdog\t/m/1\n",
    "cc12m": "http://x.org/a.jpg\tOne dog.\nhttps://x.org/b\tTwo dogs.\n",
    "coco": '{"info": {"year": 2017}, "images": [{"id": 1}],\n "annotations": '
    '[{"image_id": 1, "caption": "One dog."},\n {"caption": "Two dogs.", "id": 2}]}',
    "coco/karpathy": '{"note": "n", "images": [{"id": 1, "captions": ["One dog.", "Two dogs."]}]}',
    "coco/original": '{"images": [{"sentences": [{"raw": "One dog.", "tokens": []}, '
    '{"raw": "Two dogs."}]}], "dataset": "coco"}',
    "coco/flickr8k": '{"images": [{"sentids": [0, 1], "imgid": 0, "sentences": [{"tokens": ["one", '
    '"dog"], "raw": "One dog.", "imgid": 0, "sentid": 0}, {"tokens": ["Two", "dogs."]}], '
    '"split": "train", "filename": "2513260012_03d33305cf.jpg"}], "dataset": "flickr8k"}',
    "shutterstock": '{"1": [{"description": "One dog."}], "2": [], "3": [{"description": '
    '"Two dogs.", "url": "u"}]}',
    "iu_xray": '{"train": [{"id": "CXR1_IM-0001", "report": "One dog. Two dogs.", "image_path": '
    '["CXR1_IM-0001/0.png"], "split": "train"}], "val": []}',
}


@pytest.mark.parametrize("form", FORMATS)
def test_auto_finds_the_format(tmp_path: Path, form: str) -> None:
    path = tmp_path / "source"
    path.write_text(FORMATS[form])
    assert plan_parts(TextSource(path))[0].reader == form.split("/")[0]
    assert sentences(path) == ["One dog.", "Two dogs."]
    assert sentences(path, form.split("/")[0]) == ["One dog.", "Two dogs."]


@pytest.mark.parametrize("form", FORMATS)
def test_files_may_be_packed(tmp_path: Path, form: str) -> None:
    path = tmp_path / "source.gz"
    path.write_bytes(gzip.compress(FORMATS[form].encode()))
    assert sentences(path, part_bytes=1) == ["One dog.", "Two dogs."]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"source\.gz is not a complete gzip file"):
        sentences(path)


def test_a_folder_stands_for_its_text_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(FORMATS["shutterstock"])
    (tmp_path / "a.txt").write_text("First\n")
    (tmp_path / "empty class.json").write_text('{"1": []}')
    for other in (".hidden.txt", "picture.jpg", ".crawl/c.json"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"\0")
    *found, skip = read(tmp_path)
    assert [str(item).strip() for item in found] == ["First", "One dog.", "Two dogs."]
    assert isinstance(skip, Skip) and (skip.source, skip.reason) == (
        str(tmp_path / "empty class.json"),
        "empty",
    )
    with pytest.raises(InputError, match=r"a\.txt:1: not a line of reader 'gcc'"):
        read(tmp_path, "gcc")


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Z"]), max_size=9)),
    st.integers(1, 30),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_parts_hold_every_line_once(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    part_bytes: int,
    ending: str,
    last_ended: bool,
) -> None:
    path = tmp_path_factory.mktemp("t") / "lines.txt"
    lines = ["first", *lines]
    path.write_bytes((ending.join(lines) + (ending if last_ended else "")).encode())
    assert sentences(path, "text", part_bytes) == [line for line in lines if line]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=8,
        ),
    ),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_streamed_json_is_the_parsed_json(
    tmp_path_factory: pytest.TempPathFactory, content: dict, block: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("j") / "x.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")
    expected = [
        (key, item)
        for key, value in content.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", block)
        assert [(e.key, e.value) for e in stream_json(path)] == expected


def test_streamed_json_numbers_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a":\n[1,\n2,\n\n{"b":\n3}],\n"c": 4}\n')
    assert [e.line for e in stream_json(path)] == [2, 3, 5, 7]


@pytest.mark.parametrize(
    ("content", "reader", "message"),
    [
        ('{"annotations": [{"caption": "a"},\n {"caption": "b"', "coco", ":2: not valid JSON"),
        ('{"annotations": [{"caption": "a"}\n {"caption": "b"}]}', "coco", ":2: not valid JSON"),
        ('{"annotations": [\n{"caption": tru}' + " " * 200 + "]}", "coco", ":2: not valid JSON"),
        ('{"annotations": []}\nmore', "coco", ":2: not valid JSON: expected the end"),
        ('{"annotations": [\n{"bbox": [1]}]}', "coco", ":2: expected an object with 'caption'"),
        ('{"images": [{"id": 3}]}', "coco", "contains no sentence .* images"),
        ('{"1": [\n"text"]}', "shutterstock", ":2: expected an object with 'description'"),
        ("a.jpg#0\tok\nb.jpg no tab\n", "auto", ":2: not a line of reader 'flickr8k'"),
        ("ok\thttp://x\n\nno url\n", "auto", ":3: not a line of reader 'gcc'"),
        ("", "auto", "is empty"),
        (" \n\n", "text", "is empty"),
        ("a\0b", "text", "zero bytes"),
        ("http://x/a.jpg\ta dog\n", "gcc", ":1: not a line of reader 'gcc'"),
        ("a dog\thttp://x/a.jpg\n", "cc12m", ":1: not a line of reader 'cc12m'"),
        ("a" * (1 << 20) + "\n", "auto", ":1: .* expected a line of less than 1048576 bytes"),
        ('{"images": [{"captions": "a dog"}]}', "auto", ":1: expected a list of captions"),
        ('{"images": [{"sentences": 3}]}', "auto", ":1: expected a list of sentences"),
        ('{"images": [{"sentences": [{"tokens": 3}]}]}', "auto", "an object with 'raw'"),
        ('{"1": [{"report": "a"}, {"findings": "b"}]}', "auto", "an object with 'report'"),
        ('{"a": ' + "[" * 100_000, "auto", ":1: not valid JSON: lists are nested"),
        ('{"a": ' + "1" * 5_000 + "}", "auto", ":1: not valid JSON: a number with thousands"),
    ],
)
def test_malformed_sources_are_named(
    tmp_path: Path, content: str, reader: str, message: str
) -> None:
    path = tmp_path / "source"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, reader)
    assert str(path) in str(caught.value)


def test_line_numbers_hold_in_later_parts(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("ok\thttp://x\n" * 50 + "bad\n")
    with pytest.raises(InputError, match=r"x\.tsv:51:"):
        read(path, "gcc", part_bytes=64)


def test_undecodable_lines_are_skipped_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbffirst \xc3\xa9\nsecond \xff\nthird\n")
    first, skip, third = read(path)
    assert (first, third) == ("first \u00e9\n", "third\n")
    assert isinstance(skip, Skip)
    assert (skip.source, skip.reason) == (f"{path}:2", "undecodable")


def test_json_without_text_or_with_half_characters(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        '{"annotations": [{"caption": null},\n{"caption": "\\ud800"},{"caption": "a"}]}'
    )
    empty, broken, good = read(path)
    assert isinstance(empty, Skip) and empty.reason == "empty"
    assert isinstance(broken, Skip) and broken.reason == "undecodable"
    assert broken.source == f"{path}:2" and good == "a"


def test_pictures_with_several_descriptions_or_none(tmp_path: Path) -> None:
    path = tmp_path / "0000.json"
    pictures = [{"description": "One dog.\n\nTwo dogs."}, {"url": "u"}, {"description": " "}]
    path.write_text(json.dumps({"1": pictures}))
    one, two, *skips = read(path)
    assert (one, two) == ("One dog.", "Two dogs.")
    assert [skip.reason for skip in skips if isinstance(skip, Skip)] == ["empty", "empty"]
    path.write_text('{"1": [{"url": "u"}]}')
    with pytest.raises(InputError, match="contains no sentence for reader 'shutterstock'"):
        read(path)


def test_missing_file_folder_and_reader(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no source file"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match="is a folder without a text file"):
        read(tmp_path)
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    with pytest.raises(InputError, match=r"cannot read .*loop\.txt"):
        read(tmp_path / "loop.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match=r"pipe\.txt is not a regular file"):
        read(tmp_path / "pipe.txt")
    table = tmp_path / "captions.csv"
    table.write_text("image,label\na.jpg,a dog\n")
    with pytest.raises(InputError, match="a table without a column of captions"):
        read(table)
    with pytest.raises(InputError, match="known: auto, text"):
        read(tmp_path / "none", "csv")


def test_sources_on_a_command_line() -> None:
    assert parse_source("gcc:a/b.tsv") == TextSource(Path("a/b.tsv"), "gcc")
    assert parse_source("a:b.txt") == TextSource(Path("a:b.txt"), "auto")
    assert parse_source("tfds:coco_captions:captions/text@train") == TextSource(
        Path("coco_captions:captions/text@train"), "tfds"
    )


WHOLE = [content.encode() for content in FORMATS.values()]


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(WHOLE),
    st.sampled_from([reader for reader in READERS if reader != "tfds"]),
    st.integers(0, 300),
    st.integers(0, 20),
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"NaN", b"1e999", b"[[[[", b"null", b'"\\ud800"', b"\xff", b"\r", b'""']),
    ),
)
def test_damaged_files_give_sentences_skips_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    reader: str,
    at: int,
    cut: int,
    noise: bytes,
) -> None:
    path = tmp_path_factory.mktemp("f") / "source"
    path.write_bytes(content[:at] + noise + content[at + cut :])
    try:
        for item in read(path, reader, part_bytes=40):
            assert item.strip() and item.encode() if isinstance(item, str) else item.source
    except InputError as error:
        assert str(path) in str(error)


def test_real_files(shared_data: Path) -> None:
    for name, reader, count in [
        ("coco/captions_val2017.json", "coco", 25014),
        ("coco/karpathy_test5k_captions.json", "coco", 25000),
        ("corpora/coco_dev_captions.txt", "text", 5000),
        ("flickr8k/captions.token.txt", "flickr8k", 35000),
        ("conceptual_captions/Validation_GCC-1.1.0-Validation.tsv", "gcc", 15833),
        ("corpora/flickr30k_dev_captions.txt", "text", 5070),
    ]:
        assert plan_parts(TextSource(shared_data / name))[0].reader == reader
        assert len(sentences(shared_data / name, part_bytes=100_000)) == count
