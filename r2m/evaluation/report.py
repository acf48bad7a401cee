"""Report of an evaluation: scores with everything required to compute them again."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from r2m.evaluation.caption_scores import CaptionScores
from r2m.evaluation.caption_statistics import STATISTICS
from r2m.evaluation.output_files import write_whole

FORMAT = 1
METRIC_TITLES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "bleu": "BLEU",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "spice": "SPICE",
}
STATISTIC_TITLES = {
    "mean_length": "mean length in words",
    "bad_endings": "captions that end in a, the, of, is, ...",
    "vocabulary_used": "distinct words",
    "distinct_captions": "distinct captions",
    "novel_captions": "captions that are not training captions",
}
_SHARES = ("bad_endings", "distinct_captions", "novel_captions")
_PACKAGES = ("r2m", "tensorflow", "keras", "numpy", "pycocoevalcap")


class Section(NamedTuple):
    """Part of a report in addition to the scores.

    Attributes:
        name: its key in the JSON file.
        content: plain data for that file.
        lines: lines of Markdown.
    """

    name: str
    content: Any
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One evaluation.

    Attributes:
        split: records and split that were evaluated, e.g. `flickr8k/val`.
        scores: scores, with the tokenizer and the number of images.
        decode: decoding settings of the captions: method, beam size, maximum length, ...
        settings: further identification of the run: checkpoint, step, records, their checksums.
        predictions: file that contains the scored captions.
        sections: further parts, in order.
    """

    split: str
    scores: CaptionScores
    decode: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    predictions: str | None = None
    sections: Sequence[Section] = ()


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that scores depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def report_json(report: Report) -> dict[str, Any]:
    """Returns the report as plain data; scores are fractions."""
    scores = report.scores
    return {
        "format": FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "split": report.split,
        "images": scores.images,
        "references": scores.references,
        "tokenizer": scores.tokenizer,
        "decode": dict(report.decode),
        "scores": _ordered(scores.scores),
        "statistics": dict(scores.statistics),
        "unavailable": dict(scores.unavailable),
        **{section.name: section.content for section in report.sections},
        "empty_predictions": scores.empty_predictions,
        "dropped_references": scores.dropped_references,
        "predictions": report.predictions,
        "settings": dict(report.settings),
        "versions": versions(),
    }


def report_markdown(report: Report) -> str:
    """Returns the report as Markdown; scores are multiplied by 100, as in papers."""
    scores = report.scores
    lines = [
        f"# {markdown_cell(report.split)}: caption scores",
        "",
        "| metric | score x100 |",
        "|---|---:|",
        *(
            f"| {METRIC_TITLES.get(k, k)} | {100 * v:.2f} |"
            for k, v in _ordered(scores.scores).items()
        ),
        *(
            f"| {METRIC_TITLES.get(name, name)} | unavailable: {markdown_cell(reason)} |"
            for name, reason in scores.unavailable.items()
        ),
        *_statistics_lines(scores.statistics),
        *(line for section in report.sections for line in ("", *section.lines)),
        "",
        "| | |",
        "|---|---|",
    ]
    facts: dict[str, Any] = {
        "split": report.split,
        "images": scores.images,
        "references": scores.references,
        "tokenizer": scores.tokenizer,
    }
    if scores.empty_predictions:
        facts["images without a caption (scored 0)"] = scores.empty_predictions
    if scores.dropped_references:
        facts["references without a word (left out)"] = scores.dropped_references
    if report.predictions:
        facts["predictions"] = report.predictions
    facts |= {f"decode: {name}": value for name, value in report.decode.items()}
    facts |= dict(report.settings)
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines += [
        f"| {markdown_cell(name)} | {markdown_cell(value)} |" for name, value in facts.items()
    ]
    return "\n".join(lines) + "\n"


def write_report(folder: Path | str, report: Report, name: str = "report") -> tuple[Path, Path]:
    """Writes `<name>.json` and `<name>.md`.

    Args:
        folder: output folder; created if it does not exist.
        report: report to write.
        name: name of the files without suffix.

    Returns:
        The paths of the JSON and of the Markdown file.

    Raises:
        InputError: the disk is full.
    """
    text = json.dumps(report_json(report), indent=2, ensure_ascii=False, default=str)
    return (
        write_whole(Path(folder, f"{name}.json"), text + "\n"),
        write_whole(Path(folder, f"{name}.md"), report_markdown(report)),
    )


def _statistics_lines(statistics: Mapping[str, float]) -> list[str]:
    """Returns a Markdown table of statistics; shares are percentages."""
    if not statistics:
        return []
    lines = ["", "| captions | |", "|---|---:|"]
    for name in STATISTICS:
        if name in statistics:
            value = statistics[name]
            lines.append(f"| {STATISTIC_TITLES[name]} | {statistic_text(name, value)} |")
    return lines


def statistic_text(name: str, value: float) -> str:
    """Returns a statistic of `caption_statistics` as text; a share as a percentage."""
    return f"{100 * value:.1f} %" if name in _SHARES else f"{value:.4g}"


def _ordered(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in METRIC_TITLES if name in scores}


def markdown_cell(value: object) -> str:
    """Returns text that cannot break out of a table or become HTML, a link or a picture."""
    text = " ".join(str(value).split()).replace("<", "&lt;")
    return re.sub(r"([\\|\[\]`])", r"\\\1", text)
