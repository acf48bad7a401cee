"""Conversion of the published files of IU X-ray to tables that the builders read.

    python -m r2m.recipes.iu_xray_tables DATA/iu_xray OUTPUT

| written file | content |
|---|---|
| `labels.csv` | study, and its entries in the column `Problems` of indiana_reports.csv |
| `train.txt`, `val.txt`, `test.txt` | studies of each split of annotation.json |
| `references.csv` | study and report |
| `train_reports.json` | training studies in the layout of annotation.json, to be read sentence by sentence |
| `train_reports.csv` | training studies and reports, to be read as a whole |
| `classes.tsv`, `words.tsv` | tables of concepts of these labels, in the words of the reports |

Most mentions of a finding deny it ("no pleural effusion or pneumothorax"). The table of words
therefore contains these phrases of the training reports, as phrases without a concept.
"""  # noqa: E501 - a table row cannot be broken

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.files import make_folder, write_atomically
from tfrecords.core.text_files import read_text
from tfrecords.formats.text.reports import split_report
from tfrecords.language.concepts import class_key
from tfrecords.language.tokenization import tokenize

_SPLITS = ("train", "val", "test")
_STUDY = re.compile(r"CXR(\d+)(?:_|$)")
_DENIAL = re.compile(
    r"\b(?:no|not|without|negative for|free of|clear of|absence of)\b", re.IGNORECASE
)
_END_OF_DENIAL = re.compile(r"\b(?:but|however|although)\b|;", re.IGNORECASE)

# Labels whose last word the reports avoid, and the word with which they describe such studies.
_CLASSES = {
    "airspace disease": "airspace",
    "arthritis": "arthritic",
    "atherosclerosis": "atherosclerotic",
    "calcinosis": "calcified",
    "cardiac shadow": "cardiomegaly",
    "catheters, indwelling": "catheter",
    "cervical vertebrae": "spine",
    "cicatrix": "scarring",
    "costophrenic angle": "costophrenic",
    "fractures, bone": "fracture",
    "granulomatous disease": "granulomatous",
    "lumbar vertebrae": "spine",
    # 40 of these 41 training reports find nothing: "both lungs are clear and expanded".
    "no indexing": "normal",
    "pulmonary disease, chronic obstructive": "hyperexpanded",
    "surgical instruments": "clip",
    "technical quality of image unsatisfactory": "limited",
    "thoracic vertebrae": "spine",
    # Rare labels, of parts of the body that all reports mention.
    **dict.fromkeys(
        ("abdomen", "adipose tissue", "funnel chest", "heart", "mediastinum", "trachea"), "-"
    ),
}
_WORDS = {
    "calcification": "calcified",
    "dextroscoliosis": "scoliosis",
    "emphysematous": "emphysema",
    "enlarged": "cardiomegaly",
    "enlargement": "cardiomegaly",
    "hemidiaphragm": "diaphragm",
    "hyperexpansion": "hyperexpanded",
    "hyperinflated": "hyperexpanded",
    "hyperinflation": "hyperexpanded",
    "levoscoliosis": "scoliosis",
    # "The lungs are clear": the label Lung is for findings in a lung.
    "lungs": "-",
    "scar": "scarring",
}


def write_tables(data: Path, output: Path) -> None:
    """Writes the tables of all studies; existing files are replaced.

    Args:
        data: folder with annotation.json and indiana_reports.csv.
        output: folder to write, created if it does not exist.

    Raises:
        InputError: a file is missing or malformed, or a study is not in indiana_reports.csv.
    """
    studies = _read_studies(data / "annotation.json")
    problems = _read_problems(data / "indiana_reports.csv")
    make_folder(output)
    every = [study for split in _SPLITS for study in studies[split]]
    labels = [(study["id"], _problems_of(study["id"], problems, data)) for study in every]
    _write_table(output / "labels.csv", ("image", "labels"), labels)
    for split in _SPLITS:
        names = "".join(f"{study['id']}\n" for study in studies[split])
        write_atomically(output / f"{split}.txt", names.encode())
    reports = [(study["id"], study["report"]) for study in every]
    _write_table(output / "references.csv", ("image", "report"), reports)
    train = [(study["id"], study["report"]) for study in studies["train"]]
    content = {"train": [{"id": name, "report": report} for name, report in train]}
    write_atomically(output / "train_reports.json", json.dumps(content, indent=1).encode())
    _write_table(output / "train_reports.csv", ("image", "report"), train)
    _write_concepts(output / "classes.tsv", "class", _CLASSES)
    denied = dict.fromkeys(denied_phrases(report for _, report in train), "-")
    _write_concepts(output / "words.tsv", "word", {**denied, **_WORDS})


def denied_phrases(reports: Iterable[str]) -> list[str]:
    """Returns the phrases of reports that deny findings, sorted: words separated by spaces.

    A phrase begins with a word of denial and ends with its sentence, or before "but".
    """
    found = set()
    for report in reports:
        for sentence in split_report(report):
            if begin := _DENIAL.search(sentence):
                denied = _END_OF_DENIAL.split(sentence[begin.start() :])[0]
                words = tokenize(denied)
                if len(words) > 1:
                    found.add(class_key(" ".join(words)))
    return sorted(found)


def _read_studies(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns split -> studies with `id` and `report`."""
    try:
        content = json.loads(read_text(path, "annotation file"))
        return {
            split: [{"id": str(row["id"]), "report": str(row["report"])} for row in content[split]]
            for split in _SPLITS
        }
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is malformed ({type(error).__name__} {error}): expected R2Gen's file, lists "
            "train, val and test of studies with `id` and `report`"
        ) from error


def _read_problems(path: Path) -> dict[str, str]:
    """Returns uid -> cell of the column `Problems`."""
    rows = csv.DictReader(io.StringIO(read_text(path, "table of reports"), newline=""))
    if missing := {"uid", "Problems"} - set(rows.fieldnames or ()):
        raise InputError(
            f"{path}:1: the column {' and '.join(sorted(missing))} is missing; found "
            f"{', '.join(rows.fieldnames or ()) or 'an empty file'}"
        )
    return {row["uid"]: row["Problems"] or "" for row in rows}


def _problems_of(study: str, problems: dict[str, str], data: Path) -> str:
    uid = _STUDY.match(study)
    if uid is None or uid[1] not in problems:
        raise InputError(
            f"{data / 'annotation.json'}: the study {study!r} has no row in indiana_reports.csv, "
            "which has one per uid: expected CXR<uid>_..."
        )
    return problems[uid[1]]


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([header, *rows])
    write_atomically(path, stream.getvalue().encode())


def _write_concepts(path: Path, kind: str, rows: dict[str, str]) -> None:
    lines = [f"{kind}\tconcepts", *(f"{name}\t{concepts}" for name, concepts in rows.items())]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def main(arguments: Sequence[str]) -> str | None:
    """Writes the tables; returns a message if it fails."""
    if len(arguments) != 2:
        return "error: give two folders: python -m r2m.recipes.iu_xray_tables DATA/iu_xray OUTPUT"
    try:
        write_tables(*map(Path, arguments))
    except InputError as error:
        return f"error: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
