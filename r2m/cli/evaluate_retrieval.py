"""Evaluates how well an embedding finds captions by images and images by captions.

    r2m-evaluate-retrieval --run=workspace/runs/vse/embedding \\
        --records=workspace/records/captions/flickr8k

Several embeddings, whose similarities are averaged, on records with their own features:

    r2m-evaluate-retrieval --run=workspace/runs/vse/embedding --run=workspace/runs/vse2/embedding \\
        --records=workspace/records/captions/mobilenet \\
        --records=workspace/records/captions/lite2 --output=workspace/evaluations/both

The report names the protocol and the number of images. From 5,000 images on it also has the mean of
five folds of 1,000 images (1K). Rows with CSLS and the inverted softmax use all queries at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli.flag_groups import INPUT, MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.value_flags import define_text, define_texts

_RUN = define_texts(
    "run",
    None,
    "Run folder of a visual-semantic embedding. Given several times, the similarities of these "
    "embeddings are averaged.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_RECORDS = define_texts(
    "records",
    None,
    "Folder of caption records, made by r2m-build-captions. If given once per run, in their order, "
    "each run reads its own; all must contain the same images and captions.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_SPLIT = define_text("split", "val", "Split of the records.", group=INPUT, value="SPLIT")
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write to. Default: `predictions` in the run folder; required for several runs.",
    group=OUTPUT,
    value="FOLDER",
)


def main(argv: Sequence[str]) -> None:
    """Evaluates embeddings, prints the report and the location of the files."""
    from tfrecords.core.errors import InputError

    del argv
    if len(_RUN.value) > 1 and _OUTPUT.value is None:
        raise InputError(
            f"{len(_RUN.value)} runs make an ensemble, whose report has no run folder: give "
            "--output=FOLDER"
        )
    from r2m.evaluation.retrieval_report import retrieval_markdown
    from r2m.inference.retrieval_evaluation import evaluate_retrieval_runs
    from r2m.inference.retrieval_run import load_embedding

    runs = [load_embedding(folder) for folder in _RUN.value]
    output = Path(_OUTPUT.value or Path(runs[0].path, "predictions"))
    report = evaluate_retrieval_runs(runs, _RECORDS.value, _SPLIT.value, output)
    print(retrieval_markdown(report))
    print(f"report: {output / f'{_SPLIT.value}.retrieval.json'}")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
