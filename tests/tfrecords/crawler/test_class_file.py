from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.crawler.class_file import STATE, ClassFile

PAGES = st.dictionaries(
    st.integers(1, 9), st.lists(st.text(max_size=8), max_size=3), min_size=1, max_size=5
)


def folder_with_state(factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp("c")
    (folder / STATE).mkdir()
    return folder


@settings(deadline=None, max_examples=20)
@given(PAGES, st.integers(0, 400), st.binary(max_size=6))
def test_a_crash_at_any_byte_loses_only_what_was_not_whole(
    tmp_path_factory: pytest.TempPathFactory, pages: dict[int, list[str]], cut: int, noise: bytes
) -> None:
    folder = folder_with_state(tmp_path_factory)
    file = ClassFile(folder, "dog")
    for page, descriptions in pages.items():
        file.add(page, descriptions)
    (journal,) = (folder / STATE).iterdir()
    data = journal.read_bytes()
    lines = data[:cut].count(b"\n")
    journal.write_bytes(data[:cut] + noise.replace(b"\n", b""))
    again = ClassFile(folder, "dog")
    assert list(again.pages.items()) == list(pages.items())[:lines]
    again.add(77, ["new"])
    assert ClassFile(folder, "dog").pages == {**again.pages, 77: ["new"]}


@settings(deadline=None, max_examples=20)
@given(PAGES, PAGES)
def test_published_pages_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    pages: dict[int, list[str]],
    more: dict[int, list[str]],
) -> None:
    folder = folder_with_state(tmp_path_factory)
    for some in (pages, more):
        file = ClassFile(folder, "dog")
        for page, descriptions in some.items():
            file.add(page, descriptions)
        file.publish()
    assert ClassFile(folder, "dog").pages == {**pages, **more}
    assert [path.name for path in folder.iterdir() if path.name != STATE] == ["dog.json"]
    before = file.path.stat().st_mtime_ns
    ClassFile(folder, "dog").publish()
    assert file.path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "content",
    [
        "", "[]x", "[1]", '{"a": []}', '{"0": []}', '{"1": [{}]}', '{"1": 3}', "[" * 10**5,
        '{"1": [{"description": 3}]}', '{"1": ["a"]}', "\x00",
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / STATE).mkdir()
    (tmp_path / "dog.json").write_text(content)
    with pytest.raises(InputError, match=r"dog\.json was not written by this crawler"):
        ClassFile(tmp_path, "dog")


def test_damaged_lines_are_fetched_again(tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    good = json.dumps({"page": 1, "descriptions": ["a"]}) + "\n"
    for bad in ("null\n", "{}\n", '{"page": 0, "descriptions": []}\n', "[" * 10**5 + "\n"):
        (tmp_path / STATE / "dog.jsonl").write_text(good + bad + good)
        assert ClassFile(tmp_path, "dog").pages == {1: ["a"]}
        assert (tmp_path / STATE / "dog.jsonl").read_text() == good
