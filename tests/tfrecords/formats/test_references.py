from __future__ import annotations

import json

import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.references import read_references

EXPECTED = {"a.jpg": ["A dog .", "Dogs run"], "b.jpg": ["Two men"]}


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_all_formats_say_the_same(tmp_path):
    tokens = "a.jpg#0\tA dog .\na.jpg#1\tDogs run\n\nb.jpg#0\tTwo men\n"
    table = 'image,caption\na.jpg,A dog .\na.jpg,Dogs run\nb.jpg,"Two men"\n'
    coco = {
        "images": [{"id": 1, "file_name": "val/a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "A dog ."},
            {"image_id": 2, "caption": "Two men\n"},
            {"image_id": 1, "caption": "Dogs run"},
        ],
    }
    karpathy = {
        "images": [
            {"filename": "a.jpg", "sentences": [{"raw": "A dog ."}, {"raw": "Dogs run"}]},
            {"file_name": "b.jpg", "captions": ["Two men"]},
        ]
    }
    for name, content in [
        ("t.txt", tokens),
        ("t.csv", table),
        ("coco.json", coco),
        ("karpathy.json", karpathy),
    ]:
        found = read_references(write(tmp_path, name, content))
        assert {key.removeprefix("val/"): texts for key, texts in found.items()} == EXPECTED
        assert ("val/a.jpg" in found) == (name == "coco.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "", "no caption"),
        ("t.txt", "a.jpg#0\tA dog\na.jpg A dog\n", r"t\.txt:2"),
        ("t.txt", "a.jpg#0\t\n", r"t\.txt:1"),
        ("t.csv", "image,caption\na.jpg\n", r"t\.csv:2"),
        ("t.json", "{", "not valid JSON"),
        ("t.json", {"images": [{"file_name": "a.jpg"}]}, "malformed"),
        ("t.json", {"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}, "malformed"),
        ("t.json", [], "malformed"),
    ],
)
def test_faults(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_references(write(tmp_path, name, content))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_references(tmp_path / "none.txt")


def test_real_files(shared_data):
    flickr = read_references(shared_data / "flickr8k/captions.token.txt")
    assert all(len(captions) == 5 for captions in flickr.values())
    coco = read_references(shared_data / "coco/captions_val2017.json")
    assert len(coco) == 5000
    karpathy = read_references(shared_data / "coco/karpathy_test5k_captions.json")
    assert {len(captions) for captions in karpathy.values()} == {5}
