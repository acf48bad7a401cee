"""Every reader of names and words takes a file in every form that editors and systems write."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tfrecords.core.vocabulary import Vocabulary
from tfrecords.formats.detections.reading import read_boxes
from tfrecords.formats.paired.reading import PairedSource, read_paired
from tfrecords.formats.references import read_references
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.label_maps import LabelMap, read_label_map
from tfrecords.pictures.image_names import read_split_lists


def split_lists(path: Path) -> Any:
    return read_split_lists({"train": path})


def classes(path: Path) -> Any:
    found = read_label_map(path)
    return found.classes, found.codes


def concepts(path: Path) -> Any:
    built = build_concept_dictionary([LabelMap("x", {1: "café"})], [path])
    return built.to_json()


def vocabulary(path: Path) -> Any:
    return Vocabulary.load(path).sha256


def boxes(path: Path) -> Any:
    companion = path.with_name("labels.csv")
    companion.write_text("/m/1,dog\n")
    found = read_boxes(path, companion if path.suffix == ".csv" else None)
    return [(image.name, image.found.class_names) for image in found]


def paired(path: Path) -> Any:
    dataset = read_paired(PairedSource(str(path)))
    return [(i.image_id, i.file, i.source_id, i.captions) for i in dataset.images]


def corpus(path: Path) -> Any:
    items = [item for part in plan_parts(TextSource(path), 8) for item in read_part(part)]
    return [unicodedata.normalize("NFC", str(item)).strip() for item in items]


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


FILE = {"id": 1, "file_name": "ü/é.jpg", "height": 9, "width": 9}
KARPATHY = {"filepath": "ü", "filename": "é.jpg", "sentences": [{"raw": "é é", "tokens": ["é"]}]}
CASES: list[tuple[Callable[[Path], Any], str, str]] = [
    (split_lists, "train.txt", "ü/é.jpg\nü/b.jpg\n"),
    (classes, "map.txt", "café\n\ndog\n"),
    (classes, "map.csv", "id,name\n1,café\n2,dog\n"),
    (classes, "map.csv", "/m/1,café\n/m/2,dog\n"),
    (classes, "map.tsv", "category\tdisplay name\n1\tcafé\n2\tdog\n"),
    (classes, "map.pbtxt", 'item {\n id: 1\n name: "café"\n}\n'),
    (classes, "map.json", dumps({"categories": [{"id": 1, "name": "café"}]})),
    (concepts, "table.tsv", "word\tconcepts\nkaffeehaus\tcafé\n# é\ncafeteria\tcafé\n"),
    (vocabulary, "vocabulary.txt", "<pad>\t0\n<S>\t0\n</S>\t0\ndog\t3\n<unk>\t0\n"),
    (
        boxes,
        "boxes.csv",
        "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax\né,/m/1,0.5,0.1,0.5,0.1,0.5\n",
    ),
    (
        boxes,
        "coco.json",
        dumps(
            {
                "images": [FILE],
                "categories": [{"id": 1, "name": "dog"}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
            }
        ),
    ),
    (paired, "flickr.token", "ü/é.jpg#0\tÉin Café\nb.jpg#0\tA dog\n"),
    (paired, "table.csv", "image,caption\nü/é.jpg,Ein Café\nb.jpg,A dog\n"),
    (paired, "results.csv", "image_name| comment_number| comment\né.jpg| 0| Ein Café\n"),
    (paired, "clef.txt", "é1\tEin Café\nb1\tA dog\n"),
    (paired, "dataset.json", dumps({"images": [KARPATHY]})),
    (
        paired,
        "captions.json",
        dumps({"images": [FILE], "annotations": [{"image_id": 1, "caption": "Ein Café"}]}),
    ),
    (paired, "xray.json", dumps({"val": [{"id": "é", "report": "é", "image_path": ["é.png"]}]})),
    (read_references, "table.tsv", "image\tcaption\né.jpg\tEin Café\nb.jpg\tA dog\n"),
    (corpus, "corpus.txt", "Ein Café am Platz\nA dog runs\n"),
    (corpus, "flickr.token", "é.jpg#0\tÉin Café\nb.jpg#0\tA dog\n"),
    (corpus, "reports.csv", "uid,findings\n1,Café normal.\n2,Clear.\n"),
    (corpus, "captions.json", dumps({"annotations": [{"caption": "Ein Café"}]})),
]  # fmt: skip


@pytest.mark.parametrize(("read", "name", "content"), CASES)
def test_all_forms_of_a_file_say_the_same(
    tmp_path: Path, read: Callable[[Path], Any], name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    expected = read(path)
    assert expected
    for form in ("NFC", "NFD"):
        for end in ("\n", "\r\n"):
            for encoding in ("utf-8", "utf-8-sig", "utf-16"):
                text = unicodedata.normalize(form, content).replace("\n", end)
                path.write_bytes(text.encode(encoding))
                assert read(path) == expected, (form, end, encoding)


def test_names_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for read, content in (
        (split_lists, ".\\val\\a.jpg\r\n"),
        (paired, "image,caption\nval\\a.jpg,A dog\n"),
        (paired, "val\\a.jpg#0\tA dog\n"),
        (paired, dumps({"images": [{"file_name": "val\\a.jpg", "sentences": []}]})),
        (paired, dumps([{"file_path": ".\\val\\a.jpg", "captions": []}])),
    ):
        path.write_text(content)
        assert "val/a.jpg" in str(read(path))
    path.write_text("image,caption\nC:\\data\\val\\a.jpg,A dog\n")
    assert [found[:2] for found in paired(path)] == [("a.jpg", "a.jpg")]


def test_groups_of_hdf5(tmp_path: Path) -> None:
    path, labels = tmp_path / "x.h5", tmp_path / "labels.txt"
    labels.write_text("dog\n")
    with h5py.File(path, "w") as file:
        group = file.create_group(unicodedata.normalize("NFD", "é"))
        group["detection_boxes"] = np.array([[0.1, 0.1, 0.5, 0.5]])
        group["detection_scores"], group["detection_classes"] = np.array([0.5]), np.array([1])
    assert [image.name for image in read_boxes(path, labels)] == ["é"]
