"""Tables of a comparison of runs, for both its page and its Markdown report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from r2m.evaluation.caption_statistics import STATISTICS
from r2m.evaluation.comparison.compared_runs import ComparedRuns
from r2m.evaluation.comparison.evaluations import RECORDS_FOLDER
from r2m.evaluation.confidence import ReliabilityBin
from r2m.evaluation.report import (
    METRIC_TITLES,
    STATISTIC_TITLES,
    markdown_cell,
    statistic_text,
)

# Settings that describe the machine and the folders, not the run.
_OF_A_PLACE = (RECORDS_FOLDER, "images/s")


class TableRow(NamedTuple):
    """A row of a table.

    Attributes:
        cells: text of each column.
        best: columns that are emphasized.
    """

    cells: Sequence[str]
    best: frozenset[int] = frozenset()


class ReportTable(NamedTuple):
    """A table with a heading.

    Attributes:
        title: its heading.
        header: name of each column; the first column is text, the others are numbers.
        rows: rows of the table.
        note: paragraph below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[TableRow]
    note: str = ""


def comparison_tables(found: ComparedRuns) -> list[ReportTable]:
    """Returns the tables of a comparison, without empty ones."""
    makers: Sequence[Callable[[ComparedRuns], ReportTable]] = (
        _metrics,
        _significance,
        _statistics,
        _confidence,
        _bins,
        _settings,
    )
    return [table for make in makers if (table := make(found)).rows]


def markdown_table(table: ReportTable) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(map(markdown_cell, table.header)) + " |")
    lines.append("|---|" + "---:|" * (len(table.header) - 1))
    for row in table.rows:
        cells = [markdown_cell(cell) for cell in row.cells]
        shown = [f"**{c}**" if place in row.best else c for place, c in enumerate(cells)]
        lines.append("| " + " | ".join(shown) + " |")
    return [*lines, "", *([table.note, ""] if table.note else [])]


def _header(found: ComparedRuns) -> list[str]:
    return [run.name for run in found.runs]


def _metrics(found: ComparedRuns) -> ReportTable:
    rows = []
    for name, title in METRIC_TITLES.items():
        values = [scores.scores.get(name) for scores in found.scores]
        if all(value is None for value in values):
            continue
        cells = [f"{100 * v:.2f}" if v is not None else "unavailable" for v in values]
        largest = max(cells, key=lambda cell: -1.0 if cell == "unavailable" else float(cell))
        best = {place for place, cell in enumerate(cells, 1) if cell == largest}
        rows.append(TableRow([title, *cells], frozenset(best if len(best) < len(cells) else ())))
    reasons = {
        f"{METRIC_TITLES.get(name, name)} is unavailable: {reason}."
        for scores in found.scores
        for name, reason in scores.unavailable.items()
    }
    note = f"Scores x100 of the {len(found.names)} images that all runs captioned."
    note = " ".join([note, *sorted(reasons)])
    return ReportTable("Metrics", ["metric", *_header(found)], rows, note)


def _significance(found: ComparedRuns) -> ReportTable:
    rows = []
    for pair in found.pairs:
        test = pair.test
        first, second = (found.runs[place].name for place in (pair.first, pair.second))
        cells = [
            f"{second} against {first}",
            f"{100 * test.difference:+.2f}",
            f"{100 * test.low:+.2f} to {100 * test.high:+.2f}",
            _p_value(test.p_value, found.resamples),
            _p_value(pair.adjusted, found.resamples),
            str(test.wins),
            str(test.losses),
            str(test.ties),
        ]
        rows.append(TableRow(cells, frozenset({1} if pair.adjusted < 0.05 else ())))
    header = [
        "CIDEr x100",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "wins",
        "losses",
        "ties",
    ]
    several = len(found.pairs) > 1
    if not several:
        header.remove("p (Holm)")
        rows = [TableRow([*r.cells[:4], *r.cells[5:]], r.best) for r in rows]
    note = (
        f"Paired bootstrap over the images: {found.resamples:,} resamples, seed {found.seed}, "
        "document frequencies of all images. p is two-sided"
        + ("; Holm's method adjusts it for the number of pairs" if several else "")
        + ". A difference in bold has "
        + ("an adjusted p" if several else "p")
        + " below 0.05. Wins are images on which the run that is named first has the higher CIDEr. "
        "The test does not cover trainings of the same model with other seeds."
    )
    return ReportTable("Significance", header, rows, note)


def _p_value(value: float, resamples: int) -> str:
    least = 2 / (resamples + 1)
    return f"< {1.001 * least:.1g}" if value <= least * 1.0001 else f"{value:.4f}"


def _statistics(found: ComparedRuns) -> ReportTable:
    rows = []
    for name in STATISTICS:
        values = [scores.statistics.get(name) for scores in found.scores]
        if any(value is not None for value in values):
            cells = ["" if v is None else statistic_text(name, v) for v in values]
            rows.append(TableRow([STATISTIC_TITLES[name], *cells]))
    words = [[caption.lower().split() for caption in own] for own in found.captions]
    quantiles = [np.quantile([len(w) for w in own], (0.05, 0.5, 0.95)) for own in words]
    rows.insert(
        1,
        TableRow(
            [
                "length: 5th percentile, median, 95th",
                *(" / ".join(f"{q:.0f}" for q in own) for own in quantiles),
            ]
        ),
    )
    used = [{word for caption in own for word in caption} for own in words]
    alone = [own - set().union(*(o for o in used if o is not own)) for own in used]
    rows.append(
        TableRow(["distinct words that no other run uses", *(str(len(own)) for own in alone)])
    )
    same = [[a == b for a, b in zip(own, found.captions[0], strict=True)] for own in found.captions]
    cells = ["", *(f"{100 * np.mean(own):.1f} %" for own in same[1:])]
    rows.append(TableRow([f"captions equal to those of {found.runs[0].name}", *cells]))
    human = [len(text.split()) for own in found.references for text in own]
    note = f"The references have {np.mean(human):.1f} words on average."
    return ReportTable("Length and vocabulary", ["captions", *_header(found)], rows, note)


def _confidence(found: ComparedRuns) -> ReportTable:
    known = [one.reliability for one in found.reliability]
    if not any(known):
        return ReportTable("", [], [])
    lines = (
        ("mean confidence", lambda r: f"{100 * _mean_confidence(r.bins):.1f} %"),
        ("captions as good as a typical human one", lambda r: f"{100 * r.base_rate:.1f} %"),
        ("Brier score (lower is better)", lambda r: f"{r.brier:.4f}"),
        ("Brier score of the base rate alone", lambda r: f"{r.base_brier:.4f}"),
        ("expected calibration error", lambda r: f"{100 * r.calibration_error:.1f} %"),
    )
    rows = [
        TableRow([title, *("" if r is None else text(r) for r in known)]) for title, text in lines
    ]
    threshold = next(one.threshold for one in found.reliability if one.reliability)
    note = (
        "Confidence is the probability that a caption is as good as a typical human one: its "
        f"CIDEr-D against the references is at least {100 * threshold:.1f}, the median of the "
        "references against the others of their image."
    )
    reasons = [
        f"{run.name}: {one.reason}."
        for run, one in zip(found.runs, found.reliability, strict=True)
        if one.reliability is None
    ]
    return ReportTable("Confidence", ["", *_header(found)], rows, " ".join([note, *reasons]))


def _mean_confidence(bins: Sequence[ReliabilityBin]) -> float:
    return sum(b.predicted * b.count for b in bins) / sum(b.count for b in bins)


def _bins(found: ComparedRuns) -> ReportTable:
    known = [one.reliability for one in found.reliability]
    most = max((len(r.bins) for r in known if r is not None), default=0)
    rows = []
    for place in range(most):
        cells = [
            ""
            if r is None or place >= len(r.bins)
            else f"{100 * r.bins[place].predicted:.0f} % → {100 * r.bins[place].observed:.0f} %"
            for r in known
        ]
        rows.append(TableRow([str(place + 1), *cells]))
    note = (
        "Captions in groups of equal size, from low to high confidence: mean confidence → share of "
        "captions that are as good as a typical human one."
    )
    return ReportTable("Reliability of confidence", ["group", *_header(found)], rows, note)


def _settings(found: ComparedRuns) -> ReportTable:
    settings = [run.settings() for run in found.runs]
    names = [n for n in dict.fromkeys(n for own in settings for n in own) if n not in _OF_A_PLACE]
    rows = [
        TableRow([name, *(own.get(name, "") for own in settings)])
        for name in names
        if len({own.get(name) for own in settings}) > 1
    ]
    note = "From the reports of the evaluations; settings with equal values are left out."
    return ReportTable("Settings that differ", ["setting", *_header(found)], rows, note)
