"""Shows the contents of a folder of records: counts, schema, lengths, skipped inputs, some records.

    r2m-inspect workspace/records/corpora/shapes
    r2m-inspect workspace/records/images/shapes --split=val --html=/tmp/look

The records may be of any kind: corpora, detections, images, features or captions.

Concepts of images compared with those of the corpus that they were built with:

    r2m-inspect workspace/records/images/shapes --corpora=workspace/records/corpora/shapes
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from r2m.cli import image_flags
from r2m.cli.flag_groups import CONCEPTS, INPUT, OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_switch, define_text

if TYPE_CHECKING:
    from r2m.evaluation.comparison.comparison_tables import ReportTable
    from tfrecords.core.records import Records

_SPLIT = define_text(
    "split", None, "Show only this split. Default: all.", group=INPUT, value="SPLIT"
)
_SHOW = define_whole("show", 3, "Records per split to show in full.", least=0, group=OUTPUT)
_MOST = define_whole(
    "most",
    None,
    "Maximum number of records to count per split. Default: all.",
    least=1,
    group=INPUT,
)
_VERIFY = define_switch("verify", False, "Also verify the checksums of all files.", group=INPUT)
_HTML = define_text(
    "html",
    None,
    "Folder for a page with pictures and the boxes drawn on them.",
    group=OUTPUT,
    value="FOLDER",
)
_PICTURES = define_whole("pictures", 24, "Pictures on that page.", least=1, group=OUTPUT)
_IMAGES = define_text(
    "images",
    None,
    "Folder with the image files, for records that contain none.",
    group=INPUT,
    value="FOLDER",
)
image_flags.define_folder_flags()
_CORPORA = define_text(
    "corpora",
    None,
    "Corpora records that the images were built with: shows how often concepts occur in images and "
    "in sentences, instead of the contents of the records.",
    group=CONCEPTS,
    value="FOLDER",
)
_CONCEPTS = define_whole(
    "concepts",
    20,
    "Maximum number of concepts or pairs per table of --corpora.",
    least=1,
    group=CONCEPTS,
)
_MIN_PAIR_IMAGES = define_whole(
    "min_pair_images",
    5,
    "Minimum number of images of a pair of concepts that no sentence contains, to list it.",
    least=1,
    group=CONCEPTS,
)
_JSON = define_switch(
    "json",
    False,
    "Print JSON instead of the tables of --corpora, with all concepts and pairs.",
    group=OUTPUT,
)


def main(argv: Sequence[str]) -> int | None:
    """Prints the requested information."""
    if len(argv) != 2:
        raise app.UsageError("give one folder of records: r2m-inspect PATH")
    _check_flags()
    tables: Sequence[ReportTable] = ()
    if _CORPORA.value:
        records = _open(argv[1], "images")
        tables = _print_concepts(records, _open(_CORPORA.value, "corpora"))
    else:
        records = _open(argv[1])
        _print_contents(records)
    if _HTML.value:
        _write_page(records, tables)
    return 0


def _open(folder: str, kind: str | None = None) -> Records:
    from tfrecords.core.records import open_records

    return open_records(folder, kind=kind, verify="sha256" if _VERIFY.value else "size")


def _check_flags() -> None:
    """Raises a UsageError for flags that have no effect."""
    for name in ("concepts", "min_pair_images", "json"):
        if flags.FLAGS[name].present and not _CORPORA.value:
            raise app.UsageError(f"--{name} requires --corpora=FOLDER")
    if _CORPORA.value and flags.FLAGS["show"].present:
        raise app.UsageError("--corpora shows no records: leave --show out")


def _print_concepts(images: Records, corpora: Records) -> list[ReportTable]:
    """Prints the statistics of concepts, and returns their tables."""
    from r2m.evaluation.concept_report import (
        concept_report,
        report_json,
        report_tables,
        report_text,
    )

    report = concept_report(
        images,
        corpora,
        splits=[_SPLIT.value] if _SPLIT.value else images.splits,
        most=_MOST.value,
        min_pair_images=_MIN_PAIR_IMAGES.value,
    )
    tables = report_tables(report, _CONCEPTS.value)
    print(json.dumps(report_json(report), indent=1) if _JSON.value else report_text(tables))
    return tables


def _print_contents(records: Records) -> None:
    """Prints the manifest, counts and some records."""
    from r2m.engine.monitoring.text_tables import aligned
    from tfrecords import inspection
    from tfrecords.core.records import read_split

    print(aligned(inspection.describe_records(records)))
    for split in [_SPLIT.value] if _SPLIT.value else records.splits:
        found = inspection.split_statistics(records, split, _MOST.value)
        of = "" if found.read == records.count(split) else f" of {records.count(split):,}"
        print(f"\n== split {split}: {found.read:,}{of} records")
        for what, counts in found.lengths.items():
            total = counts.total()
            mean = sum(value * count for value, count in counts.items()) / total
            print(f"\n{what}: mean {mean:.2f} of {total:,}")
            print("\n".join(inspection.histogram(counts)))
        if found.classes:
            print("\nmost frequent: " + ", ".join(f"{word} {n:,}" for word, n in found.classes))
        for example in itertools.islice(read_split(records, split), _SHOW.value):
            print("\n" + aligned(inspection.describe_example(example, records)))


def _write_page(records: Records, tables: Sequence[ReportTable]) -> None:
    """Writes the page of --html, and prints its path unless the output is JSON."""
    from r2m.evaluation.pages.records_page import write_records_page

    page = write_records_page(
        records,
        Path(_HTML.value),
        split=_SPLIT.value or records.splits[0],
        pictures=_PICTURES.value,
        images=Path(_IMAGES.value) if _IMAGES.value else None,
        recursive=image_flags.recursive(),
        tables=tables,
    )
    if not _JSON.value:
        print(f"\npage: {page}")


console = partial(run, main, arguments="FOLDER")

if __name__ == "__main__":
    console()
