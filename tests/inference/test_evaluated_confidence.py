"""Confidences of captions, from the evaluation of a run to files and Python results."""

from __future__ import annotations

import base64
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gallery_pages import read_items

import r2m
from r2m.evaluation import confidence
from r2m.evaluation.comparison.compared_runs import compare_runs
from r2m.evaluation.comparison.evaluations import read_evaluations
from r2m.evaluation.comparison.reference_images import find_records, images_of_records
from r2m.inference.calibration_file import CALIBRATION_FILE
from r2m.inference.caption_files import caption_files
from r2m.inference.evaluate_run import evaluate_run
from tfrecords.core.errors import InputError

SEARCH = {"beam_size": 3}
QUICK: dict[str, Any] = {"metrics": ("bleu", "cider"), "tokenizer": "ptb_python"}


@pytest.fixture
def run(att2in2_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run that can be calibrated with four validation images."""
    monkeypatch.setattr(confidence, "LEAST_IMAGES", 4)
    monkeypatch.setattr(confidence, "LEAST_OF_EACH", 0)
    return Path(shutil.copytree(att2in2_run, tmp_path / "run"))


def test_captions_of_a_calibrated_run_have_a_confidence(
    run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "predictions"
    evaluate_run(
        run, caption_records, "val", output, decoding=SEARCH, captions=2, attention=True, **QUICK
    )
    report = json.loads((output / "val.report.json").read_text())
    assert report["confidence"]["fitted_on"] == "the other folds of these images"
    assert sum(b["count"] for b in report["confidence"]["reliability"]["bins"]) == 4
    assert (report["caption_sets"]["most"], report["caption_sets"]["compared"]) == (2, 4)
    assert report["caption_sets"]["oracle"]["cider"] >= report["caption_sets"]["mean"]["cider"]
    text = (output / "val.report.md").read_text()
    assert "## Confidence" in text and "## 2 captions per image" in text
    rows = json.loads((output / "val.predictions.json").read_text())
    assert all(len(row["captions"]) == 2 and 0 < row["confidence"] < 1 for row in rows)
    shown = {item["name"]: item for item in read_items(output / "val" / "index.html")}
    assert len(shown) == len(rows) == 4
    lines = (output / "val.predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = (output / "val.predictions.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(table) == 1 + 2 * len(rows) and table[0].endswith(",note,file_name,cider")
    parsed = list(csv.DictReader(table))
    assert [bool(line["cider"]) for line in parsed] == [True, False] * len(rows)
    assert {line["file_name"] for line in parsed} == {*shown}
    for row in rows:
        item = shown[row.get("file_name", row["image_id"])]
        assert [one["text"] for one in item["captions"]] == [c["caption"] for c in row["captions"]]
        assert item["scores"]["confidence"] == row["confidence"] and "cider" in item["scores"]
        assert item["references"]
        words = item["attention"]["words"]
        assert " ".join(words) == row["caption"]
        height, width = item["attention"]["grid"]
        cells = base64.b64decode(item["attention"]["maps"])
        assert len(cells) == len(words) * height * width and max(cells) == 255
    # The evaluation can be compared without passing its records.
    other = shutil.copytree(output, tmp_path / "other")
    evaluations = read_evaluations([output, other], "val")
    assert [evaluation.name for evaluation in evaluations] == [tmp_path.name, "other"]
    source = images_of_records(find_records(evaluations), "val", None)
    compared = compare_runs(
        evaluations, source.images, metrics=("cider",), tokenizer="ptb_python", resamples=100
    )
    assert sorted(compared.names) == sorted(shown) and compared.pairs[0].test.ties == 4
    assert {*source.pictures(compared.names)} == {*shown}
    stored = json.loads((run / CALIBRATION_FILE).read_text())["calibrations"][0]
    calibration = confidence.Calibration(**stored["calibration"])

    image = pictures / "images" / (pictures / "val.txt").read_text().split()[0]
    (row,) = caption_files(run, image, tmp_path / "files", decoding=SEARCH, captions=2).rows
    (found,) = r2m.load(run, beam_size=3).caption(image, alternatives=1)
    words = len(found.text.split())
    # Without or with end marker.
    expected = {calibration(found.log_probability, n) for n in (words, words + 1)}
    assert any(found.confidence == pytest.approx(value) for value in expected)
    (other,) = found.alternatives
    assert [one["confidence"] for one in row["captions"]] == [
        pytest.approx(one, abs=1e-4) for one in (found.confidence, other.confidence)
    ]
    with (tmp_path / "files" / "captions.csv").open(encoding="utf-8-sig") as stream:
        assert [float(line["confidence"]) for line in csv.DictReader(stream)] == [
            one["confidence"] for one in row["captions"]
        ]
    # On another split the stored calibration is used, and nothing is fitted.
    before = (run / CALIBRATION_FILE).read_bytes()
    evaluate_run(run, caption_records, "train", output, decoding=SEARCH, **QUICK)
    report = json.loads((output / "train.report.json").read_text())
    assert report["confidence"]["fitted_on"].endswith(" val")
    assert (run / CALIBRATION_FILE).read_bytes() == before


def test_a_run_that_cannot_be_calibrated_says_why(
    att2in2_run: Path, caption_records: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate_run(att2in2_run, caption_records, "val", tmp_path, **QUICK)
    report = json.loads((tmp_path / "val.report.json").read_text())
    reason = "4 images with references, at least 50 needed"
    assert report["confidence"] == {"unavailable": reason} and reason in caplog.text
    rows = json.loads((tmp_path / "val.predictions.json").read_text())
    assert not any("confidence" in row for row in rows)
    assert not (att2in2_run / CALIBRATION_FILE).exists()
    with pytest.raises(InputError, match="--captions=9: must be at most"):
        evaluate_run(att2in2_run, caption_records, "val", tmp_path, captions=9, **QUICK)
