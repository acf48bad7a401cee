"""Comparisons of runs, from folders of evaluations to the page and the Markdown."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_pages import read_items
from PIL import Image

from r2m.evaluation.comparison.compared_runs import ComparedRuns, compare_runs
from r2m.evaluation.comparison.comparison_tables import comparison_tables
from r2m.evaluation.comparison.evaluations import find_predictions, read_evaluations
from r2m.evaluation.comparison.reference_images import find_records, images_of_files
from r2m.evaluation.pages.comparison_page import write_comparison
from tfrecords.core.errors import InputError

EVIL = '<script>alert(1)</script>|"[x](javascript:alert)`'
NOUNS = ("dog", "cat", "boat", "tree", "house")
COUNT = 60


def _picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24)).save(stream, "PNG")
    return stream.getvalue()


def _names() -> list[str]:
    return [f"{number:03d}.png" for number in range(COUNT)]


@pytest.fixture
def references(tmp_path: Path) -> Path:
    table = {
        name: [f"a {NOUNS[n % 5]} near the {NOUNS[n % 3]}", f"one {NOUNS[n % 5]} {EVIL}"]
        for n, name in enumerate(_names())
    }
    file = tmp_path / "references.json"
    file.write_text(json.dumps(table))
    return file


def _evaluate(folder: Path, right: int, **report: Any) -> Path:
    """Writes an evaluation; the captions of the first `right` images are human captions."""
    folder.mkdir(parents=True)
    rows = [
        {
            "image_id": name,
            "caption": f"a {NOUNS[n % 5]} near the {NOUNS[n % 3]}" if n < right else f"sky {EVIL}",
            "confidence": 0.9 if n < right else 0.1,
        }
        for n, name in enumerate(_names())
    ]
    (folder / "val.predictions.json").write_text(json.dumps(rows))
    (folder / "val.report.json").write_text(json.dumps(report))
    return folder


def _compare(sources: list[Path], references: Path, **options: Any) -> ComparedRuns:
    return compare_runs(
        read_evaluations(sources, "val"),
        images_of_files(str(references), None, None).images,
        metrics=("bleu", "cider"),
        tokenizer="ptb_python",
        resamples=500,
        **options,
    )


def test_a_comparison_of_three_runs(tmp_path: Path, references: Path) -> None:
    sources = [
        _evaluate(tmp_path / "weak", 20, decode={"beam_size": 1}, settings={"run": EVIL}),
        _evaluate(tmp_path / EVIL.replace("/", "_"), 40, decode={"beam_size": 3}),
        _evaluate(tmp_path / "same", 20, decode={"beam_size": 1}),
    ]
    found = _compare(sources, references)
    assert [run.name for run in found.runs] == ["weak", EVIL.replace("/", "_"), "same"]
    assert found.cider is not None and found.cider.shape == (3, COUNT)
    better, equal, worse = found.pairs
    assert better.test.p_value < 0.01 and better.test.difference > 0.1
    assert (better.test.wins, better.test.losses, better.test.ties) == (20, 0, 40)
    assert better.test.p_value <= better.adjusted <= 3 * better.test.p_value
    assert equal.test.p_value == 1 and worse.test.difference == pytest.approx(
        -better.test.difference
    )
    assert found.scores[1].scores["cider"] == pytest.approx(found.cider[1].mean())
    reliability = found.reliability[0].reliability
    assert reliability is not None and reliability.base_rate == pytest.approx(1 / 3)
    assert reliability.brier == pytest.approx(0.01)
    # Equal seeds, equal figures.
    assert _compare(sources, references).pairs == found.pairs
    assert _compare(sources, references, seed=1).pairs != found.pairs

    titles = [table.title for table in comparison_tables(found)]
    assert titles == [
        "Metrics", "Significance", "Length and vocabulary", "Confidence",
        "Reliability of confidence", "Settings that differ",
    ]  # fmt: skip
    settings = comparison_tables(found)[-1]
    assert [row.cells for row in settings.rows] == [
        ["run", EVIL, "", ""],
        ["beam_size", "1", "3", "1"],
    ]

    page, markdown = write_comparison(
        tmp_path / "out",
        found,
        title=EVIL,
        pictures=lambda names: {name: _picture() for name in names if name != "020.png"},
        most=30,
    )
    items = read_items(page)
    # The images on which the runs differ are first.
    assert {item["name"] for item in items[:20]} == {f"{n:03d}.png" for n in range(20, 40)}
    assert len(items) == 30 and items[0]["captions"][1]["source"] == found.runs[1].name
    assert items[0]["scores"]["difference_1"] == pytest.approx(
        items[0]["captions"][1]["scores"]["cider"] - items[0]["captions"][0]["scores"]["cider"],
        abs=1e-4,
    )
    assert items[0]["groups"] == [f"best: {found.runs[1].name}"]
    assert items[-1]["groups"] == ["all equal"]
    unseen = next(item for item in items if item["name"] == "020.png")
    assert unseen["pictured"] is False
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and text.count("<script nonce=") == 3
    lines = markdown.read_text(encoding="utf-8").splitlines()
    assert "<script" not in "\n".join(lines)
    # Captions do not break table cells and do not become links.
    wins = lines[lines.index(next(line for line in lines if "Largest wins" in line)) + 4]
    assert wins.replace("\\|", "").count("|") == 6
    assert re.match(r"\| !\[0\d\d\.png\]\(index\.files/0000\d\d\.jpg\) 0\d\d\.png \| \+", wins)
    assert "`" not in "\n".join(lines).replace("\\`", "") and " [x](" not in "\n".join(lines)


def test_only_images_that_all_runs_captioned_are_compared(tmp_path: Path, references: Path) -> None:
    first, second = _evaluate(tmp_path / "a", 20), _evaluate(tmp_path / "b", 30)
    rows = json.loads((second / "val.predictions.json").read_text())
    (second / "val.predictions.json").write_text(json.dumps(rows[10:]))
    found = _compare([first, second], references)
    assert found.left_out == {"a": 10} and [*found.names] == _names()[10:]
    assert np.shape(found.captions) == (2, COUNT - 10)


def test_evaluations_are_found_in_runs_and_experiments(tmp_path: Path) -> None:
    for stage in ("cross_entropy", "self_critical"):
        _evaluate(tmp_path / "updown" / stage / "predictions", 1)
        (tmp_path / "updown" / stage / "config.json").write_text("{}")
    _evaluate(tmp_path / "fc" / "cross_entropy" / "predictions", 1)
    stage = tmp_path / "updown" / "cross_entropy"
    runs = read_evaluations([stage, tmp_path / "fc" / "cross_entropy" / "predictions"], "val")
    assert [run.name for run in runs] == ["updown/cross_entropy", "fc/cross_entropy"]
    assert find_predictions(tmp_path / "fc", "val").parent.parent.name == "cross_entropy"
    with pytest.raises(InputError, match="several evaluated stages: give one of"):
        find_predictions(tmp_path / "updown", "val")
    with pytest.raises(InputError, match=r"no test\.predictions\.json: it has predictions of val"):
        find_predictions(tmp_path / "updown", "test")
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="r2m-evaluate --run="):
        find_predictions(tmp_path / "new", "val")
    with pytest.raises(InputError, match="no such folder or file"):
        find_predictions(tmp_path / "none", "val")
    with pytest.raises(InputError, match="two runs or more, found 1"):
        read_evaluations([stage], "val")
    with pytest.raises(InputError, match="are both"):
        read_evaluations([stage, stage / "predictions"], "val")
    with pytest.raises(InputError, match="no report names its records; give --records=FOLDER"):
        find_records(runs)


def test_pictures_are_of_the_folder_of_images_alone(tmp_path: Path, references: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in ("images/a.png", "secret.png"):
        (tmp_path / path).write_bytes(_picture())
    source = images_of_files(str(references), None, tmp_path / "images")
    names = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "images/../../secret.png"]
    assert source.pictures(names) == {"a.png": (tmp_path / "images" / "a.png").resolve()}
    with pytest.raises(InputError, match="no such folder of images"):
        images_of_files(str(references), None, tmp_path / "none")
