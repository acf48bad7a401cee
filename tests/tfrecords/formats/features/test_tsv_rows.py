"""TSVs of LXMERT, OSCAR and VinVL."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.features.tsv import open_tsv

REGIONS = np.random.default_rng(0).random((3, 6), np.float32)
BOXES = np.tile(np.float32([10, 5, 90, 25]), (3, 1))
STORED = [0.1, 0.1, 0.5, 0.9]


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def lxmert(name: str, scale: int) -> str:
    scores = [encoded(REGIONS[:, 0])] * 4
    columns = [name, "50", "100", *scores, "3", encoded(BOXES), encoded(REGIONS * scale)]
    return "\t".join(columns)


def oscar(name: str, scale: int) -> str:
    return f"{name}\t3\t{encoded(REGIONS * scale)}"


def vinvl(name: str, scale: int) -> str:
    return f"{name}\t" + json.dumps({"num_boxes": 3, "features": encoded(REGIONS * scale)})


def vinvl_objects(name: str, scale: int) -> str:
    objects = [
        {"class": "dog", "rect": box.tolist(), "conf": 0.5, "feature": encoded(row * scale)}
        for box, row in zip(BOXES, REGIONS, strict=True)
    ]
    return f"{name}\t" + json.dumps({"image_h": 50, "image_w": 100, "objects": objects})


LAYOUTS = {f.__name__: f for f in (lxmert, oscar, vinvl, vinvl_objects)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_layouts(layout: str, end: str, tmp_path: Path):
    path = tmp_path / "features.tsv"
    lines = [LAYOUTS[layout](f"COCO_val2014_{n:012}", n) for n in (7, 42)]
    path.write_bytes((end.join(lines) + end).encode())
    store = open_feature_store(str(path))
    boxes = layout in ("lxmert", "vinvl_objects")
    assert store.shapes == {"region_feature": (None, 6)} and store.has_boxes == boxes
    found = store.get("42")
    np.testing.assert_allclose(found.region_feature, REGIONS * 42, rtol=1e-6)
    if boxes:
        np.testing.assert_allclose(found.boxes, [STORED] * 3, rtol=1e-6)
    assert (found.height, found.width) == ((50, 100) if boxes else (None, None))
    assert store.get("8") is None


def test_boxes_of_images_of_unknown_size(tmp_path: Path):
    """VinVL keeps the sizes in another file."""
    path = tmp_path / "features.tsv"
    path.write_text(vinvl_objects("7", 1).replace('"image_h": 50, "image_w": 100, ', ""))
    store = open_feature_store(str(path))
    assert store.has_boxes and store.needs_sizes
    np.testing.assert_array_equal(store.get("7").corners, BOXES)
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps({"images": [{"id": 7, "height": 50, "width": 100}]}))
    store = open_feature_store(f"tsv:{path},sizes={sizes}")
    assert store.has_boxes and not store.needs_sizes
    assert store.paths == (path, sizes)
    np.testing.assert_allclose(store.get("7").boxes, [STORED] * 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('1\t{"num_boxes": 3', "not valid JSON"),
        ('1\t{"a": 1, "b": 2}', r"JSON with 'a', 'b'; expected `num_boxes` and `features`"),
        ('1\t{"num_boxes": "3", "features": ""}', "num_boxes is '3', expected a whole number"),
        ('1\t{"num_boxes": 3, "features": 7}', "features is not base64"),
        ('1\t{"num_boxes": 3, "features": "AAAA"}', "0 numbers of features for 3 boxes"),
        ('1\t{"objects": []}', "no boxes"),
        ('1\t{"objects": [[]]}', "JSON with 'objects'; expected"),
        ('1\t{"objects": [{"rect": [1, 2, 3, 4], "class": "dog"}]}', "this is a file of labels"),
        ('1\t{"objects": [{"feature": "AAAAAA=="}, {"feature": ""}]}', "different lengths"),
        (vinvl_objects("1", 1).replace("90.0", '"x"'), "`rect` is not four numbers"),
        (vinvl_objects("1", 1).replace(", 90.0", ""), r"boxes of shape \(3, 3\)"),
        (vinvl_objects("1", 1).replace("100", "0"), "an image of 0 x 50 pixels"),
        ("1\t3\tAAA", "not base64"),
        (lxmert("1", 1)[:-8], "features"),
    ],
)
def test_damaged_lines(line: str, message: str, tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=rf"x\.tsv:1: .*{message}"):
        open_tsv((path,))


def test_lines_of_another_layout_are_named(tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text("\n".join([vinvl_objects("1", 1), oscar("2", 2), vinvl("3", 3)]))
    store = open_tsv((path,))
    with pytest.raises(InputError, match=r"x\.tsv:2: image '2': 3 columns, expected image_id, JS"):
        store.get("2")
    with pytest.raises(InputError, match=r"x\.tsv:3: image '3': no boxes, but the first image has"):
        store.get("3")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_is_fatal(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    layout = data.draw(st.sampled_from(list(LAYOUTS.values())))
    whole = bytearray("\n".join(layout(str(i), i) for i in range(3)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.sampled_from(list(b'\t\n\r0A=9-\0\xff{}[]",:')))
    path = tmp_path_factory.mktemp("damaged") / "x.tsv"
    path.write_bytes(whole)
    try:
        store = open_tsv((path,))
    except InputError:
        return
    for key in store.keys():  # noqa: SIM118 - it is no dict
        try:
            found = store.get(key)
        except InputError:
            continue
        assert found.region_feature.shape[1] == store.feature_size
        assert np.isfinite(found.region_feature).all()
