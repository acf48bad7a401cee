"""Predictions and references on disk: round trips, and messages for invalid files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2m.evaluation.predictions import (
    check_rows,
    prediction_rows,
    read_json,
    reference_table,
    write_predictions,
)
from tfrecords.core.errors import InputError

ROWS = [{"image_id": "a.jpg", "caption": "a dog"}, {"image_id": 7, "caption": ""}]


# Includes lone surrogates, which Python uses for file names that are not UTF-8.
any_text = st.text(st.characters(), max_size=12)


@settings(deadline=None)  # the disk may be busy
@given(st.dictionaries(any_text, any_text, min_size=1, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, captions: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("p") / "predictions.json"
    rows = [{"image_id": i, "caption": c} for i, c in captions.items()]
    write_predictions(path, rows)
    assert read_json(path) == rows


def test_extras_and_numpy_values_are_kept(tmp_path: Path) -> None:
    extra = {"score": np.float32(0.5), "concepts": np.array([1, 2])}
    path = write_predictions(tmp_path / "deep" / "p.json", [{**ROWS[0], **extra}, ROWS[1]])
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert rows[0]["score"] == 0.5 and rows[0]["concepts"] == [1, 2]
    assert rows[1] == ROWS[1]
    assert [p.name for p in path.parent.iterdir()] == ["p.json"]


def test_a_number_of_its_own_makes_the_image_id() -> None:
    captions = {"a.jpg": "a dog", "b/c.jpg": "", "7": "a cat"}
    numbered = [
        {"image_id": 42, "file_name": "a.jpg", "caption": "a dog"},
        {"image_id": 0, "file_name": "b/c.jpg", "caption": ""},
        {"image_id": 7, "caption": "a cat"},
    ]
    named = [{"image_id": name, "caption": text} for name, text in captions.items()]
    ids = {"a.jpg": "42", "b/c.jpg": "0", "7": "7"}
    assert prediction_rows(captions, ids) == numbered
    # No number, the number of another image, zeros in front, not an integer, beyond int64.
    for other in ("", "42", "007", "4.5", "9" * 19):
        assert prediction_rows(captions, {**ids, "7": other}) == named
    assert prediction_rows(captions, {}) == named


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no predictions"),
        ([{"image_id": "x"}], "prediction 0: no caption"),
        ([{"image_id": "x", "caption": None}], "caption of 'x' must be text, found null"),
        ([{"image_id": 1.5, "caption": "a"}], "image_id must be"),
        ([{"image_id": 7, "caption": "a"}, {"image_id": "7", "caption": "b"}], "than one .* '7'"),
        (["a dog"], "expected .* found text"),
        ([{"image_id": "x", "caption": "a", "score": float("nan")}], "cannot be written as JSON"),
        ([{"image_id": "x", "caption": "a", "score": object()}], "cannot be written as JSON"),
    ],
)
def test_wrong_predictions_are_refused_and_nothing_is_written(
    tmp_path: Path, rows: list, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        write_predictions(tmp_path / "p.json", rows)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_predictions(tmp_path / "p.json", ROWS)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="no space left"):
        write_predictions(path, ROWS[:1])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[\n{"image_id": 1, "capt', r"p\.json:2: malformed JSON"),
        ("", r"p\.json:1: malformed"),
        ("[" * 100_000, "nested too deeply|malformed"),
    ],
)
def test_malformed_files_say_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_json(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file of captions"):
        read_json(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b'["\xff\xfe"]')
    with pytest.raises(InputError, match="not UTF-8"):
        read_json(tmp_path / "b.json")


def test_two_predictions_of_an_image_are_refused() -> None:
    rows = [{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]
    with pytest.raises(InputError, match=r"p\.json: more than one prediction for '1'"):
        check_rows(rows, "p.json")


def test_references_of_tables_and_of_coco() -> None:
    table = {"a": ["a dog", "dogs"], "b": ["é"]}
    assert reference_table(table, "r.json") == table
    rows = [{"image_id": 3, "caption": "x"}, {"image_id": 3, "caption": "y"}]
    found = reference_table({"images": [], "annotations": rows}, "coco.json")
    assert found == {"3": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "found a list"),
        ({}, "no references"),
        ({"a": "text"}, "they are not for 'a'"),
        ({"a": [1]}, "they are not for 'a'"),
        ({"annotations": [{"image_id": 1}]}, "annotation 0: no caption"),
        ({"annotations": []}, "no references"),
    ],
)
def test_wrong_references(content: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        reference_table(content, "r.json")
