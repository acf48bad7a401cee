"""Report of the concepts of images and sentences: tables for the terminal and pages, and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from r2m.engine.monitoring.text_tables import aligned, four_digits
from r2m.evaluation.comparison.comparison_tables import ReportTable, TableRow
from tfrecords.concept_statistics.comparison import (
    ConceptStatistics,
    ConceptUse,
    Overlap,
    UnusedClasses,
    concept_statistics,
    read_dictionary,
    unused_classes,
)
from tfrecords.core.records import Records
from tfrecords.language.concept_sets import read_concept_sets

# Training reads the sentences of this split.
_SENTENCES = "train"
_SIZES = 3  # larger sets of concepts share a row
_WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class ConceptReport:
    """Statistics of the concepts of images and sentences, and the records they are about.

    Attributes:
        images: the images.
        corpora: the sentences.
        image_splits: the splits of the images.
        statistics: statistics of their concepts.
        classes: classes of the detectors that give images no concept.
    """

    images: Records
    corpora: Records
    image_splits: tuple[str, ...]
    statistics: ConceptStatistics
    classes: UnusedClasses


def concept_report(
    images: Records,
    corpora: Records,
    *,
    splits: Sequence[str],
    most: int | None = None,
    min_pair_images: int = 1,
) -> ConceptReport:
    """Compares the concepts of images with those of the training sentences of a corpus.

    Args:
        images: `images` records.
        corpora: the `corpora` records that they were built with.
        splits: splits of the images.
        most: maximum number of records to read per split; None reads all.
        min_pair_images: minimum number of images of a listed pair of concepts.

    Raises:
        InputError: the records have different dictionaries, there is no such split, or records are
            damaged.
    """
    dictionary = read_dictionary(images, corpora)
    statistics = concept_statistics(
        read_concept_sets(images, splits, dictionary, most),
        read_concept_sets(corpora, [_SENTENCES], dictionary, most),
        dictionary,
        min_pair_images=min_pair_images,
    )
    return ConceptReport(
        images=images,
        corpora=corpora,
        image_splits=tuple(splits),
        statistics=statistics,
        classes=unused_classes(images, dictionary),
    )


def report_json(report: ConceptReport) -> dict[str, Any]:
    """Returns the report with all concepts and pairs as a dict for JSON."""
    return {
        "image_records": str(report.images.folder),
        "image_splits": report.image_splits,
        "sentence_records": str(report.corpora.folder),
        "sentence_splits": [_SENTENCES],
        **asdict(report.statistics),
        "classes": asdict(report.classes),
    }


def report_text(tables: Iterable[ReportTable]) -> str:
    """Returns tables as text for the terminal."""
    parts = []
    for table in tables:
        rows = [table.header, *(row.cells for row in table.rows)]
        text = f"== {table.title}\n\n" + aligned(rows, right=range(1, len(table.header)))
        parts.append(text + (f"\n\n{textwrap.fill(table.note, _WIDTH)}" if table.note else ""))
    return "\n\n".join(parts)


def report_tables(report: ConceptReport, most: int) -> list[ReportTable]:
    """Returns the tables of a report, without empty ones.

    Args:
        report: the report.
        most: maximum number of rows of tables that list concepts or pairs.
    """
    uses = report.statistics.concepts
    shared = [use for use in uses if use.images and use.sentences]
    in_images = [use for use in uses if use.images and not use.sentences]
    in_sentences = [use for use in uses if use.sentences and not use.images]
    tables = [
        _sizes(report),
        _overlaps(report, most),
        _uses(
            "More frequent in images than in sentences",
            [use for use in shared if use.image_share > use.sentence_share],
            most,
        ),
        _uses(
            "More frequent in sentences than in images",
            [use for use in shared if use.image_share < use.sentence_share],
            most,
        ),
        _uses("In images, but in no sentence", in_images, most),
        _uses("In sentences, but in no image", in_sentences, most),
        _missing_pairs(report.statistics, most),
    ]
    return [table for table in tables if table.rows]


def _sizes(report: ConceptReport) -> ReportTable:
    found = report.statistics
    columns = [(found.images_by_size, found.images), (found.sentences_by_size, found.sentences)]
    rows = []
    for size in range(_SIZES + 1):
        cells = []
        for counts, everything in columns:
            count = sum(counts[size:]) if size == _SIZES else sum(counts[size : size + 1])
            cells += [f"{count:,}", _percent(count, everything)]
        rows.append(TableRow([f"{size} or more" if size == _SIZES else f"{size}", *cells]))
    means = [
        sum(size * count for size, count in enumerate(counts)) / max(everything, 1)
        for counts, everything in columns
    ]
    rows.append(TableRow(["all", f"{found.images:,}", "", f"{found.sentences:,}", ""]))
    rows.append(TableRow(["mean", f"{means[0]:.2f}", "", f"{means[1]:.2f}", ""]))
    splits = f"split{'s' * (len(report.image_splits) > 1)} {', '.join(report.image_splits)}"
    note = (
        f"Images: {splits} of {report.images.folder}. Sentences: split {_SENTENCES} of "
        f"{report.corpora.folder}."
    )
    for records, what in ((report.images, "images"), (report.corpora, "sentences")):
        # Not written, and therefore not counted above.
        if omitted := records.manifest.get("skipped", {}).get("counts", {}).get("no_concept"):
            note += f" The build omitted {omitted:,} {what} without a concept."
    return ReportTable(
        "Concepts per image and per sentence",
        ["concepts", "images", "share", "sentences", "share"],
        rows,
        note,
    )


def _overlaps(report: ConceptReport, most: int) -> ReportTable:
    found = report.statistics
    named = {
        "concepts": found.singles,
        "pairs of concepts": found.pairs,
        "sets of concepts, exactly": found.exact_sets,
        "sets of concepts, at least": found.covered_sets,
    }
    rows = [TableRow([name, *_overlap_cells(overlap)]) for name, overlap in named.items()]
    classes = report.classes
    note = (
        "A set is all concepts of one image. The last column counts every image, the others count "
        f"what is distinct. The dictionary has {len(found.concepts):,} concepts for "
        f"{classes.classes:,} classes of detectors."
    )
    rule = f"whose concepts are in fewer than {classes.min_concept_count} sentences"
    for names, what in ((classes.without_concept, "without a concept"), (classes.rare, rule)):
        if names:
            # The first name of a list of WordNet is enough.
            some = ", ".join(name.split(",")[0] for name in names[:most])
            more = ", ..." if len(names) > most else ""
            note += f" Classes {what}: {len(names):,} ({some}{more})."
    return ReportTable(
        "Concepts of images that sentences contain",
        ["", "distinct", "in sentences", "share", "share of all"],
        rows,
        note,
    )


def _overlap_cells(overlap: Overlap) -> list[str]:
    return [
        f"{overlap.distinct:,}",
        f"{overlap.distinct_shared:,}",
        _percent(overlap.distinct_shared, overlap.distinct),
        _percent(overlap.total_shared, overlap.total),
    ]


def _uses(title: str, uses: Sequence[ConceptUse], most: int) -> ReportTable:
    """Returns a table of concepts; the given ones are in descending order of mismatch."""
    rows = [
        TableRow(
            [
                use.word,
                f"{use.images:,}",
                f"{use.image_share:.2%}",
                f"{use.sentences:,}",
                f"{use.sentence_share:.2%}",
                "-" if use.ratio is None else four_digits(use.ratio),
                f"{use.mismatch:.4f}",
            ]
        )
        for use in uses[:most]
    ]
    header = ["concept", "images", "share", "sentences", "share", "ratio", "mismatch"]
    return ReportTable(title, header, rows, _listed(len(rows), len(uses), "concepts"))


def _missing_pairs(found: ConceptStatistics, most: int) -> ReportTable:
    rows = [
        TableRow([" + ".join(pair.words), f"{pair.images:,}", _percent(pair.images, found.images)])
        for pair in found.missing_pairs[:most]
    ]
    return ReportTable(
        f"Pairs of concepts in at least {found.min_pair_images} images, but in no sentence",
        ["pair", "images", "share"],
        rows,
        _listed(len(rows), len(found.missing_pairs), "pairs"),
    )


def _listed(shown: int, count: int, what: str) -> str:
    return f"The first {shown} of {count:,} {what}." if shown < count else ""


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"
