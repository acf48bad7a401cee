from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.reports import split_report
from tfrecords.formats.text.sources import TextSource

HEADER = "uid,MeSH,Problems,image,indication,comparison,findings,impression"


def read(path: Path, reader: str = "auto") -> list[str | Skip]:
    return [item for part in plan_parts(TextSource(path, reader)) for item in read_part(part)]


@pytest.mark.parametrize(
    ("report", "sentences"),
    [
        ("Lungs are clear. Heart size normal.", ["Lungs are clear.", "Heart size normal."]),
        ("No effusion.. Heart is normal.. ", ["No effusion..", "Heart is normal.."]),
        ("1. Cardiomegaly. 2. Right base opacity.", ["Cardiomegaly.", "Right base opacity."]),
        ("1) Large heart.\n 2) No edema", ["Large heart.", "No edema"]),
        ("Fracture on right rib 4. The fluid is small.", None),
        ("A ratio of 16.2/24.7. Diffuse opacities.", None),
        ("It measures 1.9 x 1.8 cm. No effusion.", None),
        ("A nodule of 8 mm. in size is seen.", ["A nodule of 8 mm. in size is seen."]),
        ("In the left apex.There are opacities.", ["In the left apex.", "There are opacities."]),
        ("Clear XXXX.In the lobe is a mass.", ["Clear XXXX.", "In the lobe is a mass."]),
        ("Called to Dr. XXXX at XXXX p.m. by XXXX.", ["Called to Dr. XXXX at XXXX p.m. by XXXX."]),
        ("Effusions or pneumothoraces. heart size is normal.", None),
        ("Edema or infection? XXXX XXXX (old). Stable.", None),
        ("2 images. Heart size is normal.", None),
        ("1. 2. ... .", []),
        ("", []),
        ("no stop", ["no stop"]),
    ],
)
def test_reports_are_split(report: str, sentences: list[str] | None) -> None:
    # None: at every stop (or question mark) before a space.
    expected = re.split(r"(?<=[.?]) ", report) if sentences is None else sentences
    assert split_report(report) == expected


@given(st.text(st.sampled_from("aZ. \n!?)'\"µ1"), max_size=60))
def test_splitting_loses_only_numbers_of_lists(report: str) -> None:
    sentences = split_report(report)
    assert all(any(map(str.isalnum, s)) and s == " ".join(s.split()) for s in sentences)
    kept = re.sub(r"[\W\d]", "", "".join(sentences))
    assert kept == re.sub(r"[\W\d]", "", report)


@pytest.mark.parametrize(
    "report", ["." * 200_000 + "a", "a. " * 50_000, ".)" * 50_000, "1. " * 9**5]
)
def test_splitting_takes_no_time(report: str) -> None:
    begin = time.perf_counter()
    split_report(report)
    assert time.perf_counter() - begin < 2


def test_table_of_reports(tmp_path: Path) -> None:
    path = tmp_path / "indiana_reports.csv"
    path.write_text(
        f'\ufeff{HEADER}\n1,normal,normal,Xray Chest,"Pain, a ""lot""",None.,'
        '"Lungs, heart normal.\nNo effusion.",Normal XXXX.\n2,a,b,c,d,e,,f\n\n'
        "3,a,b,c,d,e,Clear.,f\n",
        encoding="utf-8",
    )
    *sentences, skip, last = read(path)
    assert sentences == ["Lungs, heart normal.", "No effusion."] and last == "Clear."
    assert isinstance(skip, Skip)
    assert (skip.source, skip.reason) == (f"{path}:4", "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\n1,2,3\n", r":2: expected 8 columns, found 3"),
        (f'{HEADER}\n1,2,3,4,5,6,"Clear.,8\n9', r":2: not a row of a CSV table: unexpected end"),
        (f'{HEADER}\n1,2,3,4,5,6,"a"b,8\n', r":2: not a row of a CSV table"),
        (f"{HEADER}\n1,2,3,4,5,6,{'a' * 200_000},8\n", r":2: not a row of a CSV table: field"),
        ("uid,impression\n1,a\n", r":1: expected a table with the column 'findings', found 'uid,"),
        (f"{HEADER}\n", r"contains no reports"),
    ],
)
def test_malformed_tables_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, "iu_xray")
    assert str(path) in str(caught.value)


def test_reports_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "annotation.json"
    path.write_text(json.dumps({"train": [{"report": None}, {"report": "\ud800"}], "val": []}))
    assert [skip.reason for skip in read(path) if isinstance(skip, Skip)] == [
        "empty",
        "undecodable",
    ]
    table = tmp_path / "x.csv"
    table.write_bytes(b"uid,findings\n1,Clear.\n2,\xff\n3,Normal.\n")
    with pytest.raises(InputError, match=r"x\.csv:3: .* not UTF-8.* iconv"):
        read(table)


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"], min_codepoint=1), max_size=30),
        max_size=5,
    )
)
def test_tables_hold_every_report_once(
    tmp_path_factory: pytest.TempPathFactory, reports: list[str]
) -> None:
    path = tmp_path_factory.mktemp("t") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["uid", "Findings"], *(["1", r] for r in ["a", *reports])])
    expected = ["a", *(s for report in reports for s in split_report(report))]
    assert [item for item in read(path) if isinstance(item, str)] == expected


def test_real_reports(shared_data: Path) -> None:
    folder = shared_data / "iu_xray"
    reports = [
        entry["report"]
        for split in json.loads((folder / "annotation.json").read_text()).values()
        for entry in split
    ]
    sentences = [str(item) for item in read(folder / "annotation.json")]
    assert (len(reports), len(sentences)) == (2955, 13589)
    # Every stop before a space ends a sentence; after it comes a capital, but for slips.
    assert not [s for s in sentences if ". " in s]
    assert sum(s[0].islower() for s in sentences) < 70
    assert not [s for s in sentences if re.match(r"\d+\. ", s)]

    items = read(folder / "indiana_reports.csv")
    skipped = [item for item in items if isinstance(item, Skip)]
    assert (len(items) - len(skipped), len(skipped)) == (15463, 514)
    rows = csv.DictReader(io.StringIO((folder / "indiana_reports.csv").read_text()))
    expected = [s for row in rows for s in split_report(row["findings"])]
    assert [item for item in items if isinstance(item, str)] == expected
