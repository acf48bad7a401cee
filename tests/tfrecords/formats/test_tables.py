"""Lists and tables of captions as people really have them, by all three readers of them."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource, detect_format, read_paired
from tfrecords.formats.paired.types import PairedDataset
from tfrecords.formats.references import read_references
from tfrecords.formats.tables import find_columns
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource


def read(path: Path, form: str = "auto") -> PairedDataset:
    return read_paired(PairedSource(str(path), form))


def captions(dataset: PairedDataset) -> dict[str, list[str]]:
    return {str(image.file): [c.text for c in image.captions] for image in dataset.images}


def sentences(path: Path) -> list[str]:
    return [str(item).strip() for p in plan_parts(TextSource(path)) for item in read_part(p)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


DOG_MAN = {"a.jpg": ["A dog, running"], "b.jpg": ["A man"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "filename,text\na.jpg,A dog, running\nb.jpg,A man\n"),
        ("x.tsv", "image\tcaption\na.jpg\tA dog, running\nb.jpg\tA man\n"),
        ("x.txt", "image_name,comment\r\na.jpg,A dog, running\r\nb.jpg,A man\r\n"),
        ("x.csv", 'File,Caption\na.jpg,"A dog, running"\nb.jpg,A man'),
        ("x.csv", '"Image Name";"Text"\n"a.jpg";"A dog, running"\nb.jpg;A man\n'),
        ("x.csv", "sep=;\nimage;caption\na.jpg;A dog, running\nb.jpg;A man\n"),
        ("x.csv", 'caption,score,file_path\n"A dog, running",1,a.jpg\nA man,2,b.jpg\n'),
        ("x.csv", ",image_id,image_path,raw\n0,7,a.jpg,A dog, running\n1,8,b.jpg,A man\n"),
        ("x.csv", "image|description\na.jpg|A dog, running\nb.jpg|A man\n"),
        ("x.csv", "a.jpg;A dog, running\nb.jpg;A man\n"),
        ("x.txt", 'a.jpg,"A dog, running"\nb.jpg,A man\n'),
        ("x.tsv", "a.jpg\tA dog, running\nb.jpg\tA man\n"),
        ("x.csv", "a.jpg#0\tA dog, running\nb.jpg#0\tA man\n"),
        ("x.csv", 'image,caption\na.jpg#0,"A dog, running"\nb.jpg#0,A man\n'),
        ("x.csv", 'image,caption\na.jpg, "A dog, running" \n./b.jpg,A man\n'),
        ("x.csv", "img,caption_1,caption_2\na.jpg,,'A dog, running'\nb.jpg,A man,\n"),
        ("x.csv", 'image,captions\na.jpg,"[""A dog, running""]"\nb.jpg,[\'A man\']\n'),
        ("x.csv", 'image,caption\na.jpg,"A dog,\r\n running"\nb.jpg,A man\n'),
        ("x.tsv", 'image\tcaption\na.jpg\t"A dog,\n\nrunning"\nb.jpg\tA man\n'),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content.replace("'A dog, running'", '"A dog, running"'))
    dataset = read(path)
    assert captions(dataset) == DOG_MAN and not dataset.skipped
    assert read_references(path) == DOG_MAN
    found = [re.sub(r"\s+", " ", s) for s in sentences(path)]
    assert found == ["A dog, running", "A man"]


def test_quotes_that_quote_nothing(tmp_path: Path) -> None:
    """A text that begins with a quote and has none at its end does not swallow other rows."""
    path = write(tmp_path / "x.tsv", 'image\tcaption\na.jpg\t"A dog\nb.jpg\tA "man"\nc.jpg\tA "x"')
    assert captions(read(path)) == {
        "a.jpg": ['"A dog'],
        "b.jpg": ['A "man"'],
        "c.jpg": ['A "x"'],
    }
    path = write(tmp_path / "x.csv", 'image,caption\nb.jpg,A 5" pipe\na.jpg,"A dog\nc.jpg,"x"')
    with pytest.raises(InputError, match=r"x\.csv:3: a cell in quotes that has no end"):
        read(path)


def test_splits_and_ids(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv", "id,caption,split\n7,A dog,train\n8,A man,test\n7,Dogs,train\n"
    )
    dataset = read(path)
    assert captions(dataset) == {"7.jpg": ["A dog", "Dogs"], "8.jpg": ["A man"]}
    assert [(i.source_id, i.split) for i in dataset.images] == [("7", "train"), ("8", "test")]
    write(path, "id,caption,split\n7,A dog,train\n7,Dogs,test\n")
    with pytest.raises(InputError, match=r"x\.csv:3: .* split 'test' here and in 'train' in .*:2"):
        read(path)
    path = write(tmp_path / "clef.txt", "ID\tCUIs\nA_1\tC0040405,C0030705\n")
    assert captions(read(path)) == captions(read(path, "imageclef"))
    assert list(captions(read(path))) == ["A_1.jpg"]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_unknown_headers_are_refused(tmp_path: Path, name: str) -> None:
    """A first row that is a header never becomes an image."""
    separator = "," if name == "x.csv" else "\t"
    for rows in (["bild", "a.jpg"], ["bild", "1", "2"]):
        content = "\n".join(f"{row}{separator}ein Text" for row in rows)
        path = write(tmp_path / name, content)
        with pytest.raises(InputError, match=r":1: the first row looks like a header \('bild'"):
            read(path)
        with pytest.raises(InputError, match=r":1: the first row looks like a header"):
            read_references(path)
    with pytest.raises(InputError, match=r"only\.csv contains no captions"):
        read_references(write(tmp_path / "only.csv", f"image{separator}caption\n"))


@pytest.mark.parametrize("separator", [",", "\t"])
def test_columns_in_another_order_are_refused(tmp_path: Path, separator: str) -> None:
    """Captions never become names of images, as in tables of captions and addresses."""
    name = "x.csv" if separator == "," else "x.tsv"
    for rows in (
        [["A dog", "a.jpg"], ["A man", "b.jpg"]],
        [["A dog", "https://x.org/a?b=1"], ["A man", "http://x.org/c"]],
        [["legende", "adresse"], ["A dog", "https://x.org/a"]],
    ):
        path = write(tmp_path / name, "\n".join(map(separator.join, rows)))
        with pytest.raises(InputError, match=r":1: expected captions after the names of images"):
            read(path)
    path = write(tmp_path / name, f"a.jpg{separator}b.jpg\nc.jpg{separator}see b.jpg")
    assert captions(read(path)) == {"a.jpg": ["b.jpg"], "c.jpg": ["see b.jpg"]}
    with pytest.raises(InputError, match=r"only\.tsv contains no captions"):
        read(write(tmp_path / "only.tsv", f"image{separator}caption\n"))


RAW = [
    {"file_path": "val/1.jpg", "id": 1, "captions": ["A sign.", "A limit"]},
    {"file_path": "val\\2.jpg", "id": 2, "captions": ["A man."]},
]


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "write_rows",
    [json.dumps, lambda rows: "\n".join(map(json.dumps, rows)), lambda r: json.dumps(r, indent=2)],
)
@pytest.mark.parametrize("name", ["raw.json", "raw.jsonl", "raw"])
def test_json_lists(tmp_path: Path, mark: str, write_rows: Any, name: str) -> None:
    path = write(tmp_path / name, write_rows(RAW).encode(mark))
    assert detect_format(path) == "json_list"
    dataset = read(path)
    assert captions(dataset) == {"val/1.jpg": ["A sign.", "A limit"], "val/2.jpg": ["A man."]}
    assert [(i.image_id, i.source_id) for i in dataset.images] == [
        ("val/1.jpg", "1"),
        ("val/2.jpg", "2"),
    ]
    assert set(read_references(path)) == {"val/1.jpg", "val/2.jpg"}
    assert sentences(path) == ["A sign.", "A limit", "A man."]


@pytest.mark.parametrize(
    "row",
    [
        {"image": "a.jpg", "caption": "A dog"},
        {"file_name": "a.jpg", "text": "A dog"},
        {"imgName": "a.jpg", "sentences": [{"raw": "A dog"}]},
        {"filename": "a.jpg", "captions": "A dog"},
    ],
)
def test_rows_of_json_lists(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path / "metadata.jsonl", json.dumps(row) + "\n")
    assert captions(read(path)) == {"a.jpg": ["A dog"]} and sentences(path) == ["A dog"]
    write(path, f"{json.dumps(row)}\n{json.dumps(row)}\n")
    assert captions(read(path)) == {"a.jpg": ["A dog", "A dog"]}


def test_captions_by_image(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '{"a.jpg": ["A dog", "Dogs"], "x/b.jpg": "A man"}')
    assert captions(read(path)) == {"a.jpg": ["A dog", "Dogs"], "x/b.jpg": ["A man"]}
    assert read_references(path) and sentences(path) == ["A dog", "Dogs", "A man"]
    write(path, '{"7": ["A dog"]}')
    assert [(i.image_id, i.source_id) for i in read(path).images] == [("7", "7")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image": "a.jpg", "caption": "x"}\n{"image": "b.jpg"}\n', r":2: \[1\]: expected a list"),
        ('{"image": "a.jpg", "caption": "x"}\n{"caption": "b"}\n', r":2: \[1\]: an image without"),
        ('{"image": "a.jpg", "caption": "x"}\n{"image": \n', r":3: .*begins in line 2"),
        ('{"image": "a.jpg", "caption": "x"}\n{"image": "a.jpg", "id": 3, "text": "x"}', "another"),
        ('{"url": 3}\n{"url": 4}', "it is a list of the keys url; expected a list of objects"),
    ],
)
def test_faults_of_json_lists(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "x.jsonl", content))


def test_json_without_captions_names_the_known_forms(tmp_path: Path) -> None:
    for content in ('{"image": "a.jpg", "text": "x"}', '{"a": ["x", "y"]}'):
        with pytest.raises(InputError, match=r"x\.json:1: .* has none of the known forms: .*anno"):
            sentences(write(tmp_path / "x.json", content))


def test_texts_only(tmp_path: Path) -> None:
    assert sentences(write(tmp_path / "a.json", '["A dog", "A man"]')) == ["A dog", "A man"]
    one_column = "caption\nA dog, running\n" + '"A man, sitting"\n'
    assert sentences(write(tmp_path / "a.csv", one_column)) == ["A dog, running", "A man, sitting"]
    urls = "caption\turl\nA dog\thttp://x.org/a\n"
    assert sentences(write(tmp_path / "a.tsv", urls)) == ["A dog"]
    bars = "image_name| comment_number| comment\na.jpg| 0| A dog, running .\n"
    assert sentences(write(tmp_path / "results.csv", bars)) == ["A dog, running ."]


@pytest.mark.parametrize("name", ["x.token", "x.csv", "x.txt", "x.json", "x.jsonl"])
def test_latin1_names_the_command(tmp_path: Path, name: str) -> None:
    content = {
        "x.token": "a.jpg#0\tA café with a man .\nb.jpg#0\tA dog .\n",
        "x.csv": "image,caption\na.jpg,A café\n",
        "x.txt": "a.jpg#0\tA dog .\nb.jpg#0\tA café .\n",
        "x.json": '[{"image": "a.jpg", "caption": "A café"}]',
        "x.jsonl": '{"image": "a.jpg", "caption": "A café"}\n',
    }[name]
    path = write(tmp_path / name, content.encode("latin-1"))
    for reader in (read, read_references, sentences):
        with pytest.raises(InputError, match=rf"{name}:[12]: .*iconv -f LATIN1 -t UTF-8 .*{name}"):
            reader(path)  # type: ignore[operator]


def test_html_entities_become_one_line_in_one_form(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "image\tcaption\na.jpg\tR&amp;D, e&#769;t&eacute;&#10;\n")
    dataset = read(path)
    assert captions(dataset) == {"a.jpg": ["R&D, été"]} and dataset.entities == 1


def test_a_carriage_return_in_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "O\rne, dog\nTwo dogs\n")
    assert sentences(path) == ["O\rne, dog", "Two dogs"]


def test_windows_lists_of_sentences(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        for end in ("\r\n", "\r"):
            path = write(tmp_path / "x.txt", f"A café{end}A man{end}".encode(encoding))
            assert sentences(path) == ["A café", "A man"]


names = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Z"], blacklist_characters='\\/:|,;"#'),
    min_size=1,
    max_size=6,
).map(lambda stem: f"x/{stem}.jpg")
texts = st.text(
    st.one_of(st.characters(blacklist_categories=["Cs", "Cc"]), st.sampled_from('é\n",;|[]é')),
    max_size=12,
).map(lambda text: f"A {text}.")


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(names, texts), min_size=1, max_size=5),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    header=st.sampled_from([("image", "caption"), ("File Name", "Text"), ("img", "comment")]),
    form=st.sampled_from(["NFC", "NFD"]),
    windows=st.booleans(),
    swap=st.booleans(),
)
def test_any_table_reads_back(
    rows: list[tuple[str, str]],
    encoding: str,
    end: str,
    separator: str,
    quoting: Any,
    header: tuple[str, str],
    form: Any,
    windows: bool,
    swap: bool,
) -> None:
    if separator in "\t|":
        # A stray quote cannot be told from a cell that holds both a separator and a line break.
        rows = [(name, text.replace(separator, " ")) for name, text in rows]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
    step = -1 if swap else 1
    writer.writerow(header[::step])
    for name, text in rows:
        name = unicodedata.normalize(form, name.replace("/", "\\") if windows else name)
        cells = (name, unicodedata.normalize(form, text.replace("\n", end)))
        writer.writerow(cells[::step])
    expected: dict[str, list[str]] = {}
    for name, text in rows:
        caption = unicodedata.normalize("NFC", re.sub(r"\s*\n\s*", " ", text))
        expected.setdefault(unicodedata.normalize("NFC", name), []).append(caption)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x.csv" if separator in ",;" else "x.tsv")
        path.write_bytes(stream.getvalue().encode(encoding))
        assert captions(read(path)) == expected


@settings(deadline=None, max_examples=50)
@given(
    rows=st.dictionaries(names, st.lists(texts, min_size=1, max_size=3), min_size=2, max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    is_list=st.booleans(),
)
def test_any_json_list_reads_back(
    rows: dict[str, list[str]], encoding: str, end: str, is_list: bool
) -> None:
    objects = [{"file_path": name, "captions": found} for name, found in rows.items()]
    lines = [json.dumps(row, ensure_ascii=False) for row in objects]
    content = f"[{f',{end}'.join(lines)}]" if is_list else end.join(lines)
    expected: dict[str, list[str]] = {}
    for name, found in rows.items():
        expected.setdefault(unicodedata.normalize("NFC", name), []).extend(
            unicodedata.normalize("NFC", re.sub(r"\s*\n\s*", " ", text)) for text in found
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_bytes(content.encode(encoding))
        assert captions(read(path)) == expected


def test_lines_that_are_no_header() -> None:
    for line in ("A man and a caption", "a.jpg#0\tcaption", "image,label", "the image, a text"):
        assert find_columns(line) is None or find_columns(line).image is None  # type: ignore[union-attr]


def test_absolute_paths_of_another_machine_keep_their_folders_apart(tmp_path: Path) -> None:
    rows = [f"/data/xray/study{number}/0.png\tcaption {number}\n" for number in (1, 2)]
    path = write(tmp_path / "x.tsv", "image\tcaption\n" + "".join(rows))
    assert captions(read(path)) == {
        "study1/0.png": ["caption 1"],
        "study2/0.png": ["caption 2"],
    }
    path = write(tmp_path / "y.tsv", "image\tcaption\nC:\\images\\a.jpg\tone\n")
    assert [(i.image_id, i.file) for i in read(path).images] == [("a.jpg", "a.jpg")]
