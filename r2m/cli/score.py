"""Scores a file of captions from any tool against reference captions.

    r2m-score --predictions=results.json --references=captions_val2017.json

    r2m-score --predictions=results.csv --references=dataset_coco.json --split=test \\
        --metrics=bleu,cider --output=workspace/scores

Predictions are COCO results (`[{"image_id", "caption"}, ...]`, ids or file names), `{id: caption}`
JSON, JSON Lines, or a table (CSV, TSV) of image and caption. References are COCO or Karpathy JSON,
a Flickr token file, a table, `{id: [captions]}` JSON, or any other format of r2m-build-captions.
Images are matched by file name (with or without folders and suffix), by id, or by the number in the
file name.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2m.cli.flag_groups import INPUT, OUTPUT
from r2m.cli.launch import run
from r2m.cli.scoring_flags import define_scoring_flags, scoring_options
from r2m.cli.value_flags import define_text

_PREDICTIONS = define_text(
    "predictions",
    None,
    "[FORMAT:]PATH of a file with one caption per image.",
    required=True,
    group=INPUT,
    value="[FORMAT:]PATH",
)
_REFERENCES = define_text(
    "references",
    None,
    "[FORMAT:]PATH of the reference captions; the formats are those of r2m-build-captions and are "
    "detected if none is given.",
    required=True,
    group=INPUT,
    value="[FORMAT:]PATH",
)
_SPLIT = define_text(
    "split",
    None,
    "Split of the references, or `all`. Default: `test` if the file has several splits, else all "
    "images.",
    group=INPUT,
    value="SPLIT",
)
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write report.json and report.md to. Default: only print the report.",
    group=OUTPUT,
    value="FOLDER",
)
define_scoring_flags()


def main(argv: Sequence[str]) -> None:
    """Scores the captions, writes the report and prints it."""
    from r2m.evaluation.output_files import prepare_output
    from r2m.evaluation.report import report_markdown, write_report
    from r2m.evaluation.scoring import score_files

    del argv
    if _OUTPUT.value:
        prepare_output(_OUTPUT.value)
    report = score_files(
        _PREDICTIONS.value, _REFERENCES.value, split=_SPLIT.value, **scoring_options()
    )
    # Written first, because printing may fail.
    written = write_report(_OUTPUT.value, report) if _OUTPUT.value else ()
    print(report_markdown(report))
    for path in written:
        print(f"report: {path}")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
