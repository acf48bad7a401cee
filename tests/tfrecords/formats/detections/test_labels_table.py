"""Tables of labels of whole images, as detections and as the list of classes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_files import HEADER, ROWS, only_input_errors, read, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.box_formats import BoxOptions
from tfrecords.formats.detections.labels_table import read_class_names
from tfrecords.formats.detections.reading import (
    DetectionSource,
    kind_of,
    read_boxes,
    read_detections,
)
from tfrecords.language.concepts import build_concept_dictionary

TABLE = """\
uid,File Name,Problems
1,CXR1.png,Cardiomegaly;Pleural  Effusion
2,./CXR2.png,
3,CXR3.png,"Hernia, Hiatal"
4,CXR1.png,Pneumothorax
"""


def write(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def labels_of(path: Path, **options: Any) -> dict[str, dict[str, float]]:
    images = list(read_boxes(path, None, options=BoxOptions(**options)))
    for image in images:
        assert image.found.boxes.tolist() == [[0, 0, 1, 1]] * len(image.found.scores)
    return {
        image.name: dict(zip(image.found.class_names, image.found.scores.tolist(), strict=True))
        for image in images
    }


def test_labels_of_images(tmp_path: Path) -> None:
    one, two, three = read(write(tmp_path, TABLE))
    assert (one.name, two.name, three.name) == ("CXR1.png", "CXR2.png", "CXR3.png")
    assert (one.height, one.width) == (0, 0)
    assert one.found.class_names == ("Cardiomegaly", "Pleural Effusion", "Pneumothorax")
    # Numbered in the order of the table.
    assert one.found.class_ids.tolist() == [1, 2, 4]
    assert one.found.scores.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(one.found.boxes, [[0, 0, 1, 1]] * 3)
    assert two.found.class_names == () and two.found.boxes.shape == (0, 4)
    assert three.found.class_names == ("Hernia, Hiatal",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "keywords\timage_id\nsea; ship\ta.jpg\n"),
        ("a.csv", "sep=;\nimage;labels\na.jpg;sea\na.jpg;ship\n"),
        ("a.csv", 'image;tags\r\na.jpg;"sea;ship;"\r\n'),
        ("a.csv", "\ufeffImage Index,Finding Labels\na.jpg,sea|ship\n"),
        ("a.csv", "image,labels,score\na.jpg,sea;ship,1.0\na.jpg,ship,0.5\n"),
    ],
)
def test_layouts_of_tables(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path, text, name)
    assert kind_of(path) == "labels"
    assert labels_of(path) == {"a.jpg": {"sea": 1, "ship": 1}}


def test_labels_in_utf16(tmp_path: Path) -> None:
    path = write(tmp_path, "image,labels\nä.jpg,Café;ship\n".encode("utf-16"))
    assert labels_of(path) == {"ä.jpg": {"Café": 1, "ship": 1}}


def test_scores_of_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "image,tag,confidence\na,sea,0.25\nb,sea,0.5\na,sea,0.75\na,ship,0.5\n")
    assert labels_of(path) == {"a": {"sea": 0.75, "ship": 0.5}, "b": {"sea": 0.5}}
    path = write(tmp_path, "image,tag,confidence\na,sea,25\nb,sea,100\n")
    assert labels_of(path, scores="percent") == {"a": {"sea": 0.25}, "b": {"sea": 1}}
    with pytest.raises(InputError, match=r"labels\.csv:2: the label 'sea' has the score 25, expec"):
        labels_of(path)
    with pytest.raises(InputError, match="leave boxes= and sizes= out"):
        labels_of(path, boxes="xywh")
    with pytest.raises(InputError, match="leave boxes= and sizes= out"):
        labels_of(path, sizes=tmp_path / "labels.csv")


def test_labels_merge_with_boxes(tmp_path: Path, labels: Path) -> None:
    boxes = DetectionSource(path=write_csv(tmp_path / "b.csv", *ROWS), companion=labels)
    tags = DetectionSource(path=write(tmp_path, "file,label\na1.jpg,harbor\n", "t.csv"))
    found = read_detections([boxes, tags], names=["a1.jpg"])["a1.jpg"]
    assert found.class_names == ("Dog", "Person", "harbor")
    assert found.is_tag.tolist() == [False, False, True]


def test_other_tables_keep_their_kind(tmp_path: Path, labels: Path) -> None:
    assert kind_of(write_csv(tmp_path / "b.csv", *ROWS)) == "open_images"
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    path = write_csv(tmp_path / "c.csv", "a.jpg,9,9,dog,1,1,3,3", header=header)
    with pytest.raises(InputError, match="expected the boxes of Open Images"):
        read(path, labels)
    assert HEADER.startswith("ImageID")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\na,b\n", r"csv:1: expected a first row .* found 'image,caption'"),
        ("id,labels\n1,sea\n", r"csv:1: expected a first row"),
        ("a.jpg,sea\n", r"csv:1: expected a first row"),
        ("image,labels,Labels\na,b,c\n", r"csv:1: two columns are named 'labels'"),
        ("image,labels,image\na,b,c\n", r"csv:1: two columns are named 'image'"),
        ("image,labels\na,sea,ship\n", r"csv:2: expected 2 columns .*, found 3: 'a,sea,ship'"),
        ("image,labels\na\n", r"csv:2: expected 2 columns as in the header, found 1"),
        ("image,labels\n\na,sea;;ship\n", r"csv:3: a label is empty in 'sea;;ship'"),
        ("image,labels\na,;sea\n", r"csv:2: a label is empty in ';sea'"),
        ("image,labels\n,sea\n", r"csv:2: '' is not a valid image name"),
        ("image,labels\n../a,sea\n", r"csv:2: '\.\./a' is not a valid image name"),
        ("image,labels,score\na,sea,nan\n", r"csv:2: expected a number as the score, found 'nan'"),
        ("image,labels,score\na,sea,inf\n", r"csv:2: expected a number as the score, found 'inf'"),
        ("image,labels,score\na,sea,\n", r"csv:2: expected a number as the score, found ''"),
        ("image,labels,score\na,sea,-1\n", r"csv:2: the label 'sea' has the score -1"),
        ('image,labels\na,"sea\n', r"csv:2: a cell in quotes that has no end"),
        (b"image,labels\na,caf\xe9\n", r"csv:2: the table of labels is not UTF-8.* iconv"),
        (b"image,labels\na,b\0\n", r"csv:2: the table of labels is not text"),
    ],
)
def test_tables_that_are_malformed(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, text))


def test_empty_tables(tmp_path: Path, labels: Path) -> None:
    with pytest.raises(InputError, match=r"tsv:1: expected a first row .* 'an empty file'"):
        read(write(tmp_path, "", "e.tsv"))
    path = write(tmp_path, "image,labels\na,\n")
    with pytest.raises(InputError, match="contains no detections"):
        read_detections([DetectionSource(path=path)])
    with pytest.raises(InputError, match="contains no labels"):
        read_class_names(path)
    with pytest.raises(InputError, match=r"contains names of classes: leave \+.*labels\.csv out"):
        read(path, labels)


def test_labels_are_classes(tmp_path: Path) -> None:
    found = read_class_names(write(tmp_path, TABLE))
    assert found.name == "labels.csv"
    assert found.classes == {
        1: "Cardiomegaly", 2: "Pleural Effusion", 3: "Hernia, Hiatal", 4: "Pneumothorax"
    }  # fmt: skip
    dictionary = build_concept_dictionary([found], [])
    assert dictionary.concepts_of_class("Pleural Effusion") == ("effusion",)
    assert dictionary.concepts_of_class("Cardiomegaly") == ("cardiomegaly",)
    assert dictionary.concept_of("effusions") == "effusion"


def test_label_maps_are_read_as_before(tmp_path: Path) -> None:
    for name, text in (
        ("map.csv", "id,name\n1,dog\n2,cat\n"),
        ("map.csv", "id,label\n1,dog\n2,cat\n"),
        ("map.tsv", "class\tname\n1\tdog\n2\tcat\n"),
        ("map.csv", "1,dog\n2,cat\n"),
        ("map.txt", "dog\ncat\n"),
    ):
        assert read_class_names(write(tmp_path, text, name)).classes == {1: "dog", 2: "cat"}
    with pytest.raises(InputError, match="does not exist"):
        read_class_names(tmp_path / "none.csv")


# Words, with everything that a cell in quotes may contain.
LABEL = st.text(st.sampled_from("ab é,\"'\t\n"), min_size=1).filter(str.strip)
NAME = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?\.jpg", fullmatch=True)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(NAME, st.dictionaries(LABEL, st.integers(0, 8))), st.sampled_from(",;"))
def test_any_table_gives_back_its_labels(
    tmp_path_factory: pytest.TempPathFactory,
    images: dict[str, dict[str, int]],
    separator: str,
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator)
    writer.writerow(["image", "labels", "score"])
    expected: dict[str, dict[str, float]] = {}
    for image, found in images.items():
        kept = expected.setdefault(image, {})
        writer.writerow([image, "", 1])
        for label, eighths in found.items():
            writer.writerow([image, label, eighths / 8])
            name = " ".join(label.split())
            kept[name] = max(kept.get(name, 0), eighths / 8)
    path = write(tmp_path_factory.mktemp("table"), stream.getvalue())
    assert labels_of(path) == expected


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from('ab,;|\t"\n.1'), max_size=40), st.binary(max_size=3))
def test_any_text_below_the_header(
    tmp_path_factory: pytest.TempPathFactory, text: str, tail: bytes
) -> None:
    data = f"image,labels,score\n{text}".encode() + tail
    path = write(tmp_path_factory.mktemp("fuzz"), data)
    only_input_errors(lambda: read(path))
