from __future__ import annotations

import pytest

from tfrecords.core.errors import InputError
from tfrecords.language.label_maps import read_label_map


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_pbtxt_prefers_display_name_and_falls_back_to_name(tmp_path):
    text = """# a comment
item { id: 3 name: '/m/01' display_name: "Jack-o\\'-lantern" }
item {
  name: "zebra"
  id: 7
}
"""
    found = read_label_map(write(tmp_path, "map.pbtxt", text))
    assert found.name == "map.pbtxt"
    assert found.classes == {3: "Jack-o'-lantern", 7: "zebra"}
    assert found.codes == {"/m/01": 3}


def test_plain_csv_and_json_formats(tmp_path):
    assert read_label_map(write(tmp_path, "a.txt", "dog\n\n cat \n")).classes == {
        1: "dog",
        2: "cat",
    }
    csv = write(tmp_path, "b.csv", 'id,name\n4,dog\n9,"seashore, coast"\n')
    assert read_label_map(csv).classes == {4: "dog", 9: "seashore, coast"}
    oid = write(tmp_path, "c.csv", "/m/011k07,Tortoise\n/m/011q46kg,Container\n")
    assert read_label_map(oid).classes == {1: "Tortoise", 2: "Container"}
    assert read_label_map(oid).codes == {"/m/011k07": 1, "/m/011q46kg": 2}
    coco = write(tmp_path, "d.json", '{"categories": [{"id": 90, "name": "toothbrush"}]}')
    assert read_label_map(coco).classes == {90: "toothbrush"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.pbtxt", "", "contains no classes"),
        ("a.txt", "\n \n", "contains no classes"),
        ("a.json", '{"categories": []}', "contains no classes"),
        ("a.json", '{"images": []}', "categories"),
        ("a.json", "{", "not JSON"),
        ("a.pbtxt", 'item { id: 1 name: "a" }\nitem { id: 1 name: "b" }', "id 1 to two classes"),
        ("a.pbtxt", 'item { name: "a" }', r"a\.pbtxt:1"),
        ("a.pbtxt", 'item { id: 1 name: "a" }\nitem { id: 2 }', r"a\.pbtxt:2"),
        ("a.csv", "1,dog\n2\n", r"a\.csv:2"),
        ("a.csv", "1,dog\nx,cat\n", r"a\.csv:2"),
        ("a.csv", "1,dog\n1,cat\n", "'dog' and 'cat'"),
        ("a.csv", "--5,dog\n", "neither a number"),
        ("a.csv", "\u00b2,dog\n", "neither a number"),
        ("a.csv", "9999999999999999999,dog\n", "more than 64 bits"),
        ("a.csv", "/m/1,dog\n/m/1,cat\n", "code '/m/1' twice"),
        ("a.csv", f"1,{'x' * 200_000}\n", "field larger"),
        ("a.pbtxt", f'item {{ id: {"9" * 5000} name: "a" }}', r"a\.pbtxt:1"),
        ("a.json", f'{{"categories": [{{"id": {"9" * 5000}, "name": "a"}}]}}', "categories"),
        ("a.json", '{"categories": [{"id": 1e999, "name": "a"}]}', "categories"),
        ("a.json", "[" * 100_000, "not JSON"),
    ],
)
def test_bad_maps_are_named(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_label_map(write(tmp_path, name, text))


def test_missing_and_undecodable_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_label_map(tmp_path / "no.pbtxt")
    (tmp_path / "bytes.txt").write_bytes(b"dog\ncaf\xe9")
    with pytest.raises(InputError, match=r"bytes\.txt:2: the label map is not UTF-8.* iconv"):
        read_label_map(tmp_path / "bytes.txt")


def test_real_label_maps(shared_data):
    coco = read_label_map(shared_data / "label_maps/mscoco_label_map.pbtxt").classes
    assert len(coco) == 80
    assert (coco[1], coco[90]) == ("person", "toothbrush")
    results = read_label_map(shared_data / "flickr8k/detections_coco.json").classes
    assert results == coco
    oid = read_label_map(shared_data / "label_maps/oid_bbox_trainable_label_map.pbtxt").classes
    assert len(oid) == 545
    assert len(read_label_map(shared_data / "flickr8k/tags_imagenet.json").classes) == 1000
