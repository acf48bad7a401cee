from __future__ import annotations

import codecs
import gzip
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import (
    first_line,
    normalize_name,
    numbered_lines,
    read_text,
    split_lines,
)

_LINES = ["", "a.jpg\tA café", "two words\u2028still one line\x0b\x85"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, mark: bytes, encoding: str, end: str) -> None:
    path = tmp_path / "x.txt"
    for last in ("", end):
        path.write_bytes(mark + (end.join(_LINES) + last).encode(encoding))
        assert list(numbered_lines(path, "list")) == list(enumerate(_LINES, start=1))


def test_marks_of_files_put_together(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"a\n" + codecs.BOM_UTF8 + b"b")
    assert read_text(path, "list") == "a\nb"


def test_a_carriage_return_inside_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"a\rb\nc")
    assert list(numbered_lines(path, "list")) == [(1, "a\rb"), (2, "c")]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("latin-1", "LATIN1"),
        ("cp1252", "WINDOWS-1252"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
    ],
)
def test_the_command_in_the_error_converts(tmp_path: Path, encoding: str, named: str) -> None:
    text = "one\ncafé “two”\n" if named == "WINDOWS-1252" else "one\ncafé\n"
    path = tmp_path / "my list.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=f"iconv -f {named} ") as caught:
        read_text(path, "label map")
    message = str(caught.value)
    assert message.startswith(f"{path}:2: the label map is not ")
    subprocess.run(message[message.index("iconv") :], shell=True, check=True)
    assert read_text(tmp_path / "my list.utf8.txt", "label map") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a.jpg,一只狗".encode("gb18030"), "often GB18030"),
        ("犬が走る".encode("shift-jis"), "SHIFT_JIS"),
        ("собака".encode("cp1251"), "WINDOWS-1251"),
        (gzip.compress(b"image,caption", mtime=0), r"compressed by gzip: unpack it"),
        (b"PK\x03\x04\x14\x00", "Excel workbook: .*export the sheet as CSV in UTF-8"),
    ],
)
def test_other_files_name_their_cure(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"x\.csv:1: the table .*{message}"):
        read_text(path, "table")


@given(st.text(st.sampled_from("a \r\n"), max_size=8))
def test_the_first_line(text: str) -> None:
    assert first_line(text) == next((line for line in split_lines(text) if line.strip()), "")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no label map .*x\.txt"):
        read_text(tmp_path / "x.txt", "label map")
    with pytest.raises(InputError, match=r"cannot read the label map .* directory"):
        read_text(tmp_path, "label map")
    path = tmp_path / "cut.txt"
    path.write_bytes(codecs.BOM_UTF16_LE + "a\nb".encode("utf-16-le")[:-1])
    with pytest.raises(InputError, match=r"cut\.txt:2: the label map is damaged UTF-16"):
        read_text(path, "label map")
    path.write_bytes(codecs.BOM_UTF8 + b"a\n\xe9")
    with pytest.raises(InputError, match=r"cut\.txt:2: the label map is not UTF-8"):
        read_text(path, "label map")


def test_names() -> None:
    assert normalize_name(".\\val\\cafe\u0301 1.jpg") == "val/caf\u00e9 1.jpg"
    assert normalize_name("././/a/../.b") == "a/../.b"
    assert normalize_name("./") == "./"


@given(st.text())
def test_names_have_one_form(name: str) -> None:
    once = normalize_name(name)
    assert normalize_name(once) == once == normalize_name(unicodedata.normalize("NFD", name))
