from __future__ import annotations

import json
from pathlib import Path

import pytest
from concept_records import IMAGES, SENTENCES, write_toy_records

from r2m.evaluation.comparison.comparison_tables import ReportTable
from r2m.evaluation.concept_report import (
    ConceptReport,
    concept_report,
    report_json,
    report_tables,
    report_text,
)
from tfrecords.core.errors import InputError


@pytest.fixture
def report(tmp_path: Path) -> ConceptReport:
    images = write_toy_records(
        tmp_path / "images", "images", IMAGES, options={"min_concept_count": 2}
    )
    corpora = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    return concept_report(images, corpora, splits=images.splits)


def cells(table: ReportTable) -> list[list[str]]:
    return [list(row.cells) for row in table.rows]


def test_tables_of_six_images_and_six_sentences(report: ConceptReport) -> None:
    sizes, overlaps, *others = report_tables(report, most=20)
    assert cells(sizes) == [
        ["0", "1", "16.67%", "1", "16.67%"],
        ["1", "1", "16.67%", "3", "50.00%"],
        ["2", "3", "50.00%", "1", "16.67%"],
        ["3 or more", "1", "16.67%", "1", "16.67%"],
        ["all", "6", "", "6", ""],
        ["mean", "1.67", "", "1.33", ""],
    ]
    assert "splits train, val of" in sizes.note and "Sentences: split train of" in sizes.note
    assert cells(overlaps) == [
        ["concepts", "4", "3", "75.00%", "90.00%"],
        ["pairs of concepts", "4", "2", "50.00%", "66.67%"],
        ["sets of concepts, exactly", "4", "1", "25.00%", "40.00%"],
        ["sets of concepts, at least", "4", "3", "75.00%", "80.00%"],
    ]
    assert "Classes without a concept: 1 (???)." in overlaps.note
    assert "in fewer than 2 sentences: 2 (boat, car)." in overlaps.note
    # Without concepts that are more frequent in sentences, or in no image, their tables are absent.
    assert [(table.title, cells(table)) for table in others] == [
        (
            "More frequent in images than in sentences",
            [["car", "2", "33.33%", "1", "16.67%", "2", "0.0730"]],
        ),
        (
            "In images, but in no sentence",
            [["boat", "1", "16.67%", "0", "0.00%", "-", "0.1569"]],
        ),
        (
            "Pairs of concepts in at least 1 images, but in no sentence",
            [["boat + dog", "1", "16.67%"], ["boat + person", "1", "16.67%"]],
        ),
    ]


def test_long_tables_are_cut_and_say_so(report: ConceptReport) -> None:
    tables = report_tables(report, most=1)
    assert cells(tables[-1]) == [["boat + dog", "1", "16.67%"]]
    assert tables[-1].note == "The first 1 of 2 pairs." and tables[-2].note == ""
    assert "sentences: 2 (boat, ...)." in tables[1].note


def test_text_of_the_terminal(report: ConceptReport) -> None:
    text = report_text(report_tables(report, most=20))
    assert text.startswith("== Concepts per image and per sentence\n\nconcepts   images   share")
    (line,) = (line for line in text.splitlines() if line.startswith("pairs of concepts"))
    assert line.split() == ["pairs", "of", "concepts", "4", "2", "50.00%", "66.67%"]
    assert max(map(len, text.splitlines())) <= 100


def test_json_has_all_concepts_and_pairs(report: ConceptReport) -> None:
    content = json.loads(json.dumps(report_json(report)))
    assert content["image_splits"] == ["train", "val"] and content["sentence_splits"] == ["train"]
    assert content["images"] == content["sentences"] == 6
    assert [use["word"] for use in content["concepts"]] == ["boat", "car", "dog", "person"]
    assert content["missing_pairs"][0] == {"words": ["boat", "dog"], "images": 1}
    assert content["classes"]["without_concept"] == ["???"]


def test_the_splits_of_images_and_the_number_of_records_can_be_chosen(tmp_path: Path) -> None:
    images = write_toy_records(tmp_path / "images", "images", IMAGES)
    corpora = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    found = concept_report(images, corpora, splits=["val"], most=3)
    assert (found.statistics.images, found.statistics.sentences) == (2, 3)
    assert "split val of" in report_tables(found, 1)[0].note
    with pytest.raises(InputError, match="no split 'test'"):
        concept_report(images, corpora, splits=["test"])
    text = write_toy_records(tmp_path / "text", "corpora", {"val": ["dog"]})
    with pytest.raises(InputError, match="no split 'train'"):
        concept_report(images, text, splits=["val"])


def test_the_builds_omissions_are_told(report: ConceptReport) -> None:
    report.images.manifest["skipped"]["counts"]["no_concept"] = 1200
    assert "The build omitted 1,200 images without a concept." in report_tables(report, 1)[0].note
