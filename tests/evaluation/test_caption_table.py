"""The table of captions can be read back by standard CSV readers."""

from __future__ import annotations

import csv
from pathlib import Path

from r2m.evaluation.caption_table import COLUMNS, write_caption_table

ODD = ['a "dog", running', "two\nlines", "犬 é", "=1+1", " spaces ", ""]


def test_any_text_is_read_back(tmp_path: Path) -> None:
    rows = [
        {"image_id": text, "caption": text, "log_probability": -1.5, "extra": "left out"}
        for text in ODD
    ]
    path = write_caption_table(tmp_path / "x.csv", rows)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [(row["image_id"], row["caption"]) for row in found] == [(text, text) for text in ODD]
    assert {(row["rank"], row["log_probability"]) for row in found} == {("1", "-1.5")}


def test_captions_of_an_image_are_ranked_and_unread_images_are_not(tmp_path: Path) -> None:
    rows = [
        {"image_id": 7, "caption": "a", "captions": [{"caption": "a"}, {"caption": "b"}]},
        {"image_id": "bad.png", "caption": "", "reason": "unreadable", "note": "cannot be read"},
    ]
    path = write_caption_table(tmp_path / "x.csv", rows)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert lines[1:] == ["7,1,a,,,,,,,", "7,2,b,,,,,,,", "bad.png,,,,,,,,,cannot be read"]
