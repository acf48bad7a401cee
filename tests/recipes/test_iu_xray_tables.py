"""Conversion of IU X-ray's files to tables, and the concepts that these define."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from documented_commands import ROOT

from r2m.recipes.iu_xray_tables import denied_phrases, main, write_tables
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.labels_table import read_class_names
from tfrecords.formats.detections.reading import DetectionSource, read_detections
from tfrecords.formats.references import read_references
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.concepts import ConceptDictionary, build_concept_dictionary
from tfrecords.language.tokenization import tokenize
from tfrecords.pictures.image_names import read_split_lists

REPORTS = """\
uid,MeSH,Problems
7,x,"Cardiomegaly;Pleural Effusion;Hernia, Hiatal"
8,x,No Indexing
9,x,Technical Quality of Image Unsatisfactory ;Cicatrix
"""
STUDIES = {
    "train": [
        {"id": "CXR7_IM-1", "report": "Enlarged heart. No effusion, but a hernia."},
        {"id": "CXR8_IM-2", "report": "The lungs are clear. Heart size normal."},
    ],
    "val": [{"id": "CXR9_IM-3", "report": "Scarring. Study limited."}],
    "test": [],
}


def write_data(folder: Path, studies: Any = STUDIES, reports: str = REPORTS) -> Path:
    (folder / "annotation.json").write_text(json.dumps(studies))
    (folder / "indiana_reports.csv").write_text(reports)
    return folder


def dictionary_of(tables: Path) -> ConceptDictionary:
    label_map = read_class_names(tables / "labels.csv")
    return build_concept_dictionary([label_map], [tables / "classes.tsv", tables / "words.tsv"])


def texts_of(path: Path) -> list[str]:
    return [str(text) for part in plan_parts(TextSource(path), 1) for text in read_part(part)]


def test_tables_are_read_by_the_builders(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    write_tables(write_data(tmp_path), tables)
    found = read_detections([DetectionSource(path=tables / "labels.csv")])
    assert {name: one.class_names for name, one in found.items()} == {
        "CXR7_IM-1": ("Cardiomegaly", "Pleural Effusion", "Hernia, Hiatal"),
        "CXR8_IM-2": ("No Indexing",),
        "CXR9_IM-3": ("Technical Quality of Image Unsatisfactory", "Cicatrix"),
    }
    lists = {split: tables / f"{split}.txt" for split in ("train", "val")}
    assert read_split_lists(lists) == {
        "train": ["CXR7_IM-1", "CXR8_IM-2"], "val": ["CXR9_IM-3"],
    }  # fmt: skip
    assert (tables / "test.txt").read_text() == ""
    references = read_references(tables / "references.csv")
    assert references == {
        study["id"]: [study["report"]] for split in STUDIES.values() for study in split
    }
    # Text of training studies only.
    assert texts_of(tables / "train_reports.json") == [
        *("Enlarged heart.", "No effusion, but a hernia."),
        *("The lungs are clear.", "Heart size normal."),
    ]
    assert texts_of(tables / "train_reports.csv") == [s["report"] for s in STUDIES["train"]]


def test_concepts_of_labels_and_reports(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    write_tables(write_data(tmp_path), tables)
    dictionary = dictionary_of(tables)
    assert dictionary.words == (
        *("cardiomegaly", "effusion", "hernia", "limited", "normal", "scarring"),
    )
    assert dictionary.concepts_of_class("No Indexing") == ("normal",)

    def mentioned(text: str) -> list[str]:
        return [mention.concept for mention in dictionary.find(tokenize(text))]

    assert mentioned(STUDIES["train"][0]["report"]) == ["cardiomegaly", "hernia"]
    assert mentioned("A small effusion and scars.") == ["effusion", "scarring"]


def test_denied_phrases() -> None:
    reports = [
        "There is no pleural effusion or pneumothorax. The lungs are free of disease.",
        "No edema; the heart is enlarged. No acute findings but effusions, no fracture.",
        "Normal. The heart is not enlarged. Notable density. No.",
    ]
    assert denied_phrases(reports) == [
        *("free of disease", "no acute findings", "no edema"),
        *("no pleural effusion or pneumothorax", "not enlarged"),
    ]


@pytest.mark.parametrize(
    ("studies", "reports", "message"),
    [
        ({"train": []}, REPORTS, r"annotation\.json is malformed \(KeyError 'val'\): expected"),
        ({**STUDIES, "val": [{"id": "a"}]}, REPORTS, r"malformed \(KeyError 'report'\)"),
        ([], REPORTS, r"annotation\.json is malformed \(TypeError"),
        ({**STUDIES, "val": [{"id": "CXR1", "report": ""}]}, REPORTS, "study 'CXR1' has no row"),
        ({**STUDIES, "val": [{"id": "7", "report": ""}]}, REPORTS, "study '7' has no row"),
        (STUDIES, "uid,MeSH\n7,x\n", r"reports\.csv:1: the column Problems is missing; found uid"),
        (STUDIES, "", r"reports\.csv:1: the column Problems and uid is missing; found an empty"),
    ],
)
def test_malformed_files(tmp_path: Path, studies: Any, reports: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_tables(write_data(tmp_path, studies, reports), tmp_path / "tables")


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "r2m.recipes.iu_xray_tables"]
    folders = [str(write_data(tmp_path)), str(tmp_path / "tables")]
    for arguments, code, message in (
        (folders, 0, ""),
        (folders[:1], 1, "error: give two folders: python -m r2m.recipes.iu_xray_tables"),
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr.startswith(message)) == (code, True), done.stderr
    (tmp_path / "annotation.json").write_text("{")
    assert (main(folders) or "").startswith(f"error: {tmp_path}/annotation.json is not JSON")


def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    write_tables(shared_data / "iu_xray", tmp_path)
    with (tmp_path / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2_955 and all(row["labels"] for row in rows)
    counts = [len((tmp_path / f"{s}.txt").read_text().split()) for s in ("train", "val", "test")]
    assert counts == [2_069, 296, 590]
    dictionary = dictionary_of(tmp_path)
    # Tables name existing labels only.
    labels = {" ".join(label.split()).lower() for row in rows for label in row["labels"].split(";")}
    with (tmp_path / "classes.tsv").open(newline="") as stream:
        named = {row["class"] for row in csv.DictReader(stream, delimiter="\t")}
    assert named <= labels
    mentions = [
        {mention.concept for mention in dictionary.find(tokenize(text))}
        for text in texts_of(tmp_path / "train_reports.csv")
    ]
    # Nearly all reports mention an effusion, nearly always to deny it.
    assert 40 < sum("effusion" in found for found in mentions) < 80
