"""Boxes in the CSV format of Open Images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detection_files import HEADER, ROWS, only_input_errors, read, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError


def test_open_images(tmp_path: Path, labels: Path) -> None:
    a, b = read(write_csv(tmp_path / "boxes.csv", *ROWS), labels)
    assert (a.name, b.name, a.height, a.width) == ("a1", "b2", 0, 0)
    np.testing.assert_allclose(a.found.boxes, [[0.125, 0.25, 0.75, 0.5], [0, 0, 1, 1]])
    assert a.found.class_names == ("Dog", "Person")
    assert a.found.class_ids.tolist() == [2, 1]
    assert a.found.scores.tolist() == [1.0, 0.5]
    np.testing.assert_allclose(b.found.boxes, [[0.5, 0, 1, 0.5]])


def test_open_images_with_a_pbtxt_and_other_columns(tmp_path: Path) -> None:
    labels = tmp_path / "map.pbtxt"
    labels.write_text('item { name: "/m/02" id: 40 display_name: "Dog" }')
    header = "LabelName,YMax,XMax,YMin,XMin,Confidence,ImageID"
    path = write_csv(tmp_path / "b.csv", "/m/02,0.4,0.3,0.2,0.1,0.9,x", header=header)
    (image,) = read(path, labels)
    np.testing.assert_allclose(image.found.boxes, [[0.2, 0.1, 0.4, 0.3]])
    assert image.found.class_ids.tolist() == [40]


def test_real_label_map_has_codes(shared_data: Path, tmp_path: Path) -> None:
    labels = shared_data / "label_maps/oid_bbox_trainable_label_map.pbtxt"
    path = write_csv(tmp_path / "b.csv", "x,s,/m/01g317,1,0,0.5,0,0.5,0")
    assert read(path, labels)[0].found.class_names == ("Person",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,s,/m/01,1,0,1,0"], r"b\.csv:2: expected 9 columns, found 7"),
        (["a,s,/m/01,1,0,1,0,x,0"], r"b\.csv:2: expected numbers, found Confidence '1', YMin"),
        (["a,s,/m/01,87,0,1,0,1,0"], r"b\.csv:2: the box has the score 87, expected 0\.\.1"),
        (["../a,s,/m/01,1,0,1,0,1,0"], r"b\.csv:2: '\.\./a' is not a valid image name"),
        (["/a,s,/m/01,1,0,1,0,1,0"], "is not a valid image name"),
        ([ROWS[0], ROWS[2], ROWS[1]], r"b\.csv:4: image 'a1' is repeated"),
        (["a,s,/m/99,1,0,1,0,1,0"], r"contains none of its classes \(the first is '/m/99'\)"),
        ([], "contains no detections"),
        ([f'a,s,"{"x" * 200_000}'], "not CSV"),
    ],
)
def test_open_images_that_cannot_be(
    tmp_path: Path, labels: Path, rows: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write_csv(tmp_path / "b.csv", *rows), labels)


def test_open_images_of_another_kind(tmp_path: Path, labels: Path) -> None:
    path = write_csv(
        tmp_path / "b.csv", "a,s,/m/01,1", header="ImageID,Source,LabelName,Confidence"
    )
    with pytest.raises(InputError, match="XMin, YMax, XMax missing, found ImageID, Source"):
        read(path, labels)
    (tmp_path / "e.csv").write_bytes(b"")
    with pytest.raises(InputError, match="an empty file"):
        read(tmp_path / "e.csv", labels)
    (tmp_path / "l.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe,s\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read(tmp_path / "l.csv", labels)
    names = tmp_path / "names.txt"
    names.write_text("dog\n")
    with pytest.raises(InputError, match=r"codes such as /m/01g317, but names\.txt has none"):
        read(write_csv(path, *ROWS), names)
    with pytest.raises(InputError, match=r"give the label map too \(FILE\+LABELS\)"):
        read(path)


CELL = st.sampled_from(
    ["a", "b", "/m/01", "/m/02", "0.5", "1", "nan", "inf", "-1", "1e400", '"', ""]
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(CELL | st.text(max_size=4), min_size=7, max_size=8), max_size=5),
    st.binary(max_size=3),
)
def test_any_open_images_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], tail: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    labels = folder / "labels.csv"
    labels.write_text("/m/01,Person\n")
    header = "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax"
    lines = "\n".join([header, *(",".join(row) for row in rows)])
    (folder / "b.csv").write_bytes(lines.encode(errors="replace") + tail)
    only_input_errors(lambda: read(folder / "b.csv", labels))
