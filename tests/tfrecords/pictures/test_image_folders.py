"""Pictures among the entries of a folder, and finding them by name."""

from __future__ import annotations

import inspect
import io
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures.image_files import ImageFolder, open_folder
from tfrecords.pictures.image_folders import find_images
from tfrecords.pictures.name_index import NameIndex


def picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 100, 50)).save(stream, kind)
    return stream.getvalue()


def make(folder: Path, *names: str, data: bytes | None = None) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture() if data is None else data)


def test_folders_are_searched_recursively_unless_told_otherwise(tmp_path):
    make(tmp_path, "z.PNG", "a.jpg", "b/c.jpeg", "b/deep/d.gif", "b/x.tiff")
    make(tmp_path, "notes.txt", "b/labels.json", data=b"BMW cars, P5 and other text")
    found = find_images(tmp_path)
    assert found.names == ["a.jpg", "b/c.jpeg", "b/deep/d.gif", "b/x.tiff", "z.PNG"]
    assert (found.skipped, found.passed_over) == ([], {"not_an_image": 2})
    flat = find_images(tmp_path, recursive=False)
    assert (flat.names, flat.passed_over) == (["a.jpg", "z.PNG"], {"not_an_image": 1})


def test_a_folder_without_pictures_is_an_error(tmp_path):
    make(tmp_path, "outer/inner/a.jpg")
    make(tmp_path, "outer/notes.txt", data=b"text")
    with pytest.raises(InputError, match=r"1 not_an_image; folders below it .*--norecursive"):
        find_images(tmp_path / "outer", recursive=False)
    with pytest.raises(InputError, match="no folder of images"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM"])
def test_pictures_are_known_by_their_content(tmp_path, kind):
    make(tmp_path, "without_suffix", "wrong.txt", data=picture(kind))
    assert find_images(tmp_path).names == ["without_suffix", "wrong.txt"]
    assert isinstance(ImageFolder(tmp_path).read("without_suffix"), bytes)


def test_entries_that_only_look_like_pictures_are_found_when_they_are_read(tmp_path):
    make(tmp_path, "whole.jpg", "album.jpg/inside.png")
    make(tmp_path, "text.jpg", data=b"no picture")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    found = find_images(tmp_path)
    assert found.names == [
        *("album.jpg/inside.png", "dangling.jpg", "pipe.jpg", "text.jpg", "whole.jpg")
    ]
    assert [(skip.source, skip.reason) for skip in found.skipped] == [("album.jpg", "unreadable")]
    assert found.passed_over == {"not_an_image": 1}
    folder = ImageFolder(tmp_path)
    assert folder.read("dangling.jpg").detail == "a dangling link to nowhere.jpg"
    assert folder.read("pipe.jpg").detail == "it is a pipe, socket or device, not a file"
    assert folder.read("album.jpg").detail == "it is a folder, not a file"


def test_links_to_folders_are_followed_once(tmp_path):
    make(tmp_path, "images/real/a.png", "elsewhere/b.png")
    images = tmp_path / "images"
    (images / "again").symlink_to(images / "real")
    (images / "other").symlink_to(tmp_path / "elsewhere")
    (images / "round").symlink_to(images)
    assert find_images(images).names == ["other/b.png", "real/a.png"]


def test_folders_may_be_nested_deeper_than_the_stack_of_python(tmp_path):
    name = "d/" * 200 + "a.png"
    make(tmp_path, name)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert find_images(tmp_path).names == [name]
    finally:
        sys.setrecursionlimit(limit)


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    make(tmp_path, "a.png", "locked/b.png")
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_images(tmp_path)
    assert found.names == ["a.png"]
    assert found.skipped == [Skip("locked", "unreadable", "Permission denied")]
    with pytest.raises(InputError, match="locked cannot be listed: Permission denied"):
        find_images(tmp_path / "locked")
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"contains no images .*locked: unreadable \(Permission"):
        find_images(tmp_path)


def test_hidden_entries_are_counted_and_not_read(tmp_path):
    make(tmp_path, "a.png", "._a.png", ".cache/b.png")
    found = find_images(tmp_path)
    assert (found.names, found.passed_over) == (["a.png"], {"hidden": 2})


def test_file_names_that_are_no_text_are_skipped(tmp_path):
    make(tmp_path, "a.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(b"x")
    found = find_images(tmp_path)
    assert found.names == ["a.jpg"]
    assert [(s.source, s.reason) for s in found.skipped] == [("\\udcff.jpg", "undecodable")]


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))


def test_names_are_found_in_either_unicode_form(tmp_path):
    make(tmp_path, DECOMPOSED)
    assert find_images(tmp_path).names == [COMPOSED]
    for name in (COMPOSED, DECOMPOSED):
        assert ImageFolder(tmp_path).read(name) == picture()
    make(tmp_path, COMPOSED, data=picture("JPEG"))
    assert set(find_images(tmp_path).names) == {COMPOSED, DECOMPOSED}
    assert ImageFolder(tmp_path).read(COMPOSED) == picture("JPEG")
    assert ImageFolder(tmp_path).read(DECOMPOSED) == picture()


def test_files_are_found_by_the_end_of_their_path(tmp_path):
    make(tmp_path, "x.png", "val/y.png", "a/0.png", "b/0.png", "b/only.png")
    folder = ImageFolder(tmp_path)
    assert isinstance(folder.read("val2014/x.png"), bytes)
    assert isinstance(folder.read("y.png"), bytes)
    assert isinstance(folder.read(r"b\0.png"), bytes)
    assert folder.read("train/y.png").reason == "missing"
    assert isinstance(folder.read("x"), bytes)  # lists often leave the suffix out
    twice = folder.read("0.png")
    assert twice.reason == "missing"
    assert "image '0.png' may be any of 'a/0.png', 'b/0.png'" in twice.detail


def test_names_may_begin_with_the_folder_itself(tmp_path):
    make(tmp_path, "train/0.png", "val/0.png")
    names = ["train/0.png", "val/0.png"]
    train, val = (open_folder(tmp_path / split, names) for split in ("train", "val"))
    assert isinstance(train.read("train/0.png"), bytes)
    assert isinstance(val.read("val/0.png"), bytes)
    assert train.read("val/0.png").reason == val.read("train/0.png").reason == "missing"


def test_the_picture_of_another_image_is_never_taken(tmp_path):
    # Two studies have a 0.png, and only one lies in the folder, without its own.
    make(tmp_path, "0.png")
    folder = open_folder(tmp_path, ["study1/0.png", "study2/0.png"])
    assert folder.read("study1/0.png").reason == "missing"
    assert isinstance(open_folder(tmp_path, ["study1/0.png"]).read("study1/0.png"), bytes)
    make(tmp_path, "7.png")
    for other in ("7.jpg", "007.png"):
        assert open_folder(tmp_path, ["7.png", other]).read(other).reason == "missing"
        assert open_folder(tmp_path, ["8.png", other]).read(other) == picture()


def test_names_in_other_files_mean_images():
    match = NameIndex(["val/42.jpg", "a/0.png", "b/0.png", "x.webp", COMPOSED], "the images").find
    for name in ("val/42.jpg", "42.jpg", "42", "./val/42", "deep/val/42.jpg", "42.png", "00042"):
        assert match(name) == "val/42.jpg"
    assert match(r"a\0.png") == match("a/0") == "a/0.png"
    assert match("x") == "x.webp"
    assert match(DECOMPOSED) == COMPOSED
    assert match("train/42.jpg") is match("7") is None
    with pytest.raises(InputError, match=r"'0\.png' may be any of 'a/0\.png', 'b/0\.png'"):
        match("0.png")


@given(st.lists(st.text("ab/.é1", min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
@example(["1", "a/1"])
def test_every_image_is_found_by_its_own_name(names):
    index = NameIndex(names, "here")
    assert all(index.find(name) == name for name in names)
