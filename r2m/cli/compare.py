"""Compares the captions of two or more runs over the same images: a page and a Markdown report.

Runs that r2m-evaluate has evaluated on the split val:

    r2m-compare workspace/runs/updown/cross_entropy workspace/runs/att2in2/cross_entropy \\
        --output=workspace/comparison

Folders of evaluations, for example of one run with several decoding settings:

    r2m-compare workspace/evaluations/greedy workspace/evaluations/beam --split=test \\
        --records=workspace/records/captions/shapes --output=workspace/comparison

Files of captions from any tool, against references in any format of r2m-score:

    r2m-compare ours.json theirs.csv --references=captions_val2017.json --images=val2017 \\
        --output=workspace/comparison

The report has the scores of each run, the significance of their differences in CIDEr by a paired
bootstrap over the images, wins and losses per image, length and vocabulary, and the reliability of
confidences. The page shows the images on which the runs differ most, and can be searched and
sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli.flag_groups import INPUT, OUTPUT, SCORING
from r2m.cli.gallery_flags import define_single_file
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.scoring_flags import define_scoring_flags, scoring_options
from r2m.cli.value_flags import define_text

_SPLIT = define_text(
    "split",
    None,
    "Split of the predictions in the folders, and of the records or references. Default: val; for "
    "--references as in r2m-score.",
    group=INPUT,
    value="SPLIT",
)
_RECORDS = define_text(
    "records",
    None,
    "Folder of records with the reference captions and pictures of the images. Default: the "
    "records of the evaluations, if their reports name them.",
    group=INPUT,
    value="FOLDER",
)
_REFERENCES = define_text(
    "references",
    None,
    "[FORMAT:]PATH of the reference captions, instead of --records; see r2m-score.",
    group=INPUT,
    value="[FORMAT:]PATH",
)
_IMAGES = define_text(
    "images",
    None,
    "Folder of the images, if the records do not contain them.",
    group=INPUT,
    value="FOLDER",
)
_RESAMPLES = define_whole(
    "resamples",
    10_000,
    "Number of resamples of the paired bootstrap.",
    least=100,
    most=1_000_000,
    group=SCORING,
)
_SEED = define_whole("seed", 0, "Seed of the paired bootstrap.", least=0, group=SCORING)
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write index.html and comparison.md to.",
    required=True,
    group=OUTPUT,
    value="FOLDER",
)
_GALLERY = define_whole(
    "gallery",
    1_000,
    "Maximum number of images on the page: those on which the runs differ most.",
    least=1,
    group=OUTPUT,
)
_SINGLE_FILE = define_single_file()
define_scoring_flags()


def main(argv: Sequence[str]) -> None:
    """Compares the runs, writes the reports and prints the tables."""
    from r2m.evaluation.comparison.compared_runs import compare_runs
    from r2m.evaluation.comparison.comparison_tables import comparison_tables, markdown_table
    from r2m.evaluation.comparison.evaluations import read_evaluations
    from r2m.evaluation.comparison.reference_images import (
        find_records,
        images_of_files,
        images_of_records,
    )
    from r2m.evaluation.output_files import prepare_output
    from r2m.evaluation.pages.comparison_page import write_comparison
    from r2m.evaluation.tokenizers import tokenizer_for
    from tfrecords.core.errors import InputError

    if _RECORDS.value and _REFERENCES.value:
        raise InputError("--records and --references both name the references: give one of them")
    split = _SPLIT.value or "val"
    runs = read_evaluations(argv[1:], split)
    images = Path(_IMAGES.value) if _IMAGES.value else None
    if _REFERENCES.value:
        source = images_of_files(_REFERENCES.value, _SPLIT.value, images)
    else:
        source = images_of_records(_RECORDS.value or find_records(runs), split, images)
    output = prepare_output(_OUTPUT.value)
    options = scoring_options()
    found = compare_runs(
        runs,
        source.images,
        metrics=options["metrics"],
        tokenizer=tokenizer_for(source.segmenter, options["tokenizer"]),
        resamples=_RESAMPLES.value,
        seed=_SEED.value,
    )
    page, report = write_comparison(
        output,
        found,
        title=f"{source.source}: comparison of {len(runs)} runs",
        pictures=source.pictures,
        most=_GALLERY.value,
        single_file=_SINGLE_FILE.value,
    )
    for table in comparison_tables(found):
        print("\n".join(markdown_table(table)))
    print(f"report: {report}\npage: {page}")


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="RUN RUN ...")


if __name__ == "__main__":
    console()
