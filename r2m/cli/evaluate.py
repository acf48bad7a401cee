"""Captions a split of records with a trained run and scores the captions.

R2M, on image records:

    r2m-evaluate --run=workspace/runs/shapes/tri_rec --records=workspace/records/images/shapes

A supervised captioner, on caption records:

    r2m-evaluate --run=workspace/runs/updown/cross_entropy \\
        --records=workspace/records/captions/shapes

Several captioners, as an ensemble:

    r2m-evaluate --run=workspace/runs/updown/cross_entropy \\
        --run=workspace/runs/att2in2/cross_entropy \\
        --records=workspace/records/captions/shapes --output=workspace/evaluations/both

On the split val this also calibrates the confidence of captions, which r2m-caption then reports.

Five captions per image, with the score of the best one and their diversity:

    r2m-evaluate --run=workspace/runs/updown/cross_entropy \\
        --records=workspace/records/captions/shapes --beam_size=5 --captions=5

With reference-free scores of the captions, by an embedding:

    r2m-evaluate --run=workspace/runs/updown/cross_entropy \\
        --records=workspace/records/captions/shapes --retrieval_run=workspace/runs/vse

R2M with a perfect detector, to find out whether detections or sentences limit the score:

    r2m-evaluate --run=workspace/runs/shapes/tri_rec --records=workspace/records/images/shapes \\
        --concepts=references --output=workspace/evaluations/perfect_detector
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli.decoding_flags import (
    consensus_options,
    decoding_overrides,
    define_consensus_flags,
    define_decoding_flags,
    define_ensemble_flag,
    define_precision_flag,
    ensemble_weights,
)
from r2m.cli.flag_groups import DECODING, INPUT, MODEL, OUTPUT, SCORING
from r2m.cli.gallery_flags import define_attention, define_single_file
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.scoring_flags import define_scoring_flags, scoring_options
from r2m.cli.value_flags import define_choice, define_text, define_texts
from r2m.configuration.limits import MOST_BEAMS

_RUN = define_texts(
    "run",
    None,
    "Run folder of the stage to evaluate, for example workspace/runs/shapes/tri_rec, or of an "
    "experiment, whose last stage is used. Its best checkpoint is used. Given several times, these "
    "captioners caption together, as an ensemble.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_RECORDS = define_text(
    "records",
    None,
    "Folder of records with reference captions: for R2M those made by r2m-build-images with "
    "--references, for a supervised captioner those made by r2m-build-captions.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_SPLIT = define_text("split", "val", "Split of the records.", group=INPUT, value="SPLIT")
_CAPTIONS = define_whole(
    "captions",
    1,
    "Captions to find per image; at most --beam_size with beam search. The best one is "
    "scored. With several, the report also contains oracle and mean scores and the diversity of "
    "the captions of an image.",
    least=1,
    most=MOST_BEAMS,
    group=DECODING,
)
_RETRIEVAL_RUN = define_text(
    "retrieval_run",
    None,
    "Run folder of a visual-semantic embedding that reads the same records. It scores each caption "
    "by its similarity to the image, without references; the report has the correlation with "
    "CIDEr.",
    group=SCORING,
    value="FOLDER",
)
_CONCEPTS = define_choice(
    "concepts",
    "detected",
    ("detected", "references", "shuffled"),
    "For R2M, to find what limits the score: caption the concepts that at least two references of "
    "an image mention (a perfect detector), or the detected concepts of another image (no "
    "detector). Requires --output.",
    group=SCORING,
)
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write to. Default: `predictions` in the run folder; required for several runs and "
    "with --concepts.",
    group=OUTPUT,
    value="FOLDER",
)
_GALLERY = define_whole(
    "gallery", 1_000, "Maximum number of images in the gallery.", least=1, group=OUTPUT
)
_SINGLE_FILE = define_single_file()
_ATTENTION = define_attention()
_SEED = define_whole(
    "gallery_seed", 0, "Seed for the choice of gallery images.", least=0, group=OUTPUT
)
define_scoring_flags()
define_consensus_flags()
define_decoding_flags()
define_ensemble_flag()
_PRECISION = define_precision_flag()


def main(argv: Sequence[str]) -> None:
    """Evaluates a run, prints the report and the location of the files."""
    from tfrecords.core.errors import InputError

    del argv
    if len(_RUN.value) > 1 and _OUTPUT.value is None:
        raise InputError(
            f"{len(_RUN.value)} runs make an ensemble, whose results have no run folder: give "
            "--output=FOLDER"
        )
    if _CONCEPTS.value != "detected" and _OUTPUT.value is None:
        raise InputError(
            f"--concepts={_CONCEPTS.value} scores captions of other concepts than the detected "
            "ones: give --output=FOLDER, so that they do not replace those of the run"
        )
    from r2m.engine.distribution.cores import configure_threads, cores
    from r2m.evaluation.report import report_markdown
    from r2m.inference.evaluate_run import evaluate_run
    from r2m.inference.run_folder import RunFolder

    configure_threads(cores())
    folders = [RunFolder(path) for path in _RUN.value]
    output = Path(_OUTPUT.value or folders[0].path / "predictions")
    report = evaluate_run(
        folders,
        _RECORDS.value,
        _SPLIT.value,
        output,
        decoding=decoding_overrides(),
        consensus=consensus_options(),
        captions=_CAPTIONS.value,
        concepts=_CONCEPTS.value,
        ensemble_weights=ensemble_weights(),
        precision=_PRECISION.value,
        **scoring_options(),
        gallery=_GALLERY.value,
        single_file=_SINGLE_FILE.value,
        attention=_ATTENTION.value,
        gallery_seed=_SEED.value,
        retrieval_run=_RETRIEVAL_RUN.value,
    )
    print(report_markdown(report))
    print(f"predictions and report: {output}\ngallery: {output / _SPLIT.value / 'index.html'}")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
