"""Captions images, folders and lists of images: writes a table, JSON and CSV files and a gallery.

Captions are written as they are found, so a folder may contain any number of images. After an
interruption the same command resumes.

With R2M, which captions detected objects:

    r2m-caption --run=workspace/runs/shapes/tri_rec --images=workspace/raw/shapes/images \\
        --detections=workspace/raw/shapes/detections.json \\
        --detections=workspace/raw/shapes/tags.json --output=workspace/captions

With a supervised captioner, which reads features of the backbone of its records:

    r2m-caption --run=workspace/runs/updown/cross_entropy --images=photographs \\
        --output=workspace/captions

With a supervised captioner of detected regions (records built with --regions):

    r2m-caption --run=workspace/runs/relation/cross_entropy --images=photographs \\
        --detections=records/detections/photographs --output=workspace/captions

Single images, by name or with --images, with the three best captions each:

    r2m-caption dog.jpg cat.jpg --run=workspace/runs/updown/cross_entropy --captions=3 \\
        --output=workspace/captions

With several captioners, as an ensemble:

    r2m-caption --run=workspace/runs/updown/cross_entropy \\
        --run=workspace/runs/att2in2/cross_entropy --images=photographs \\
        --output=workspace/captions

By consensus, which selects the caption that agrees most with those of similar training images:

    r2m-caption --run=workspace/runs/updown/cross_entropy --images=photographs \\
        --neighbors=60 --beam_size=20 --output=workspace/captions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r2m.cli import image_flags
from r2m.cli.decoding_flags import (
    consensus_options,
    decoding_overrides,
    define_consensus_flags,
    define_decoding_flags,
    define_ensemble_flag,
    define_precision_flag,
    ensemble_weights,
)
from r2m.cli.flag_groups import DECODING, INPUT, MODEL, OUTPUT
from r2m.cli.gallery_flags import define_attention, define_single_file
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.record_reports import describe_use
from r2m.cli.terminal_text import terminal_text
from r2m.cli.value_flags import define_switch, define_text, define_texts
from r2m.configuration.limits import MOST_BEAMS

# Width of the column of image names; longer names move their captions to the right.
_WIDEST = 60
_PRINTED = 200  # rows

_RUN = define_texts(
    "run",
    None,
    "Run folder of the stage to caption with, for example workspace/runs/shapes/tri_rec, or of an "
    "experiment, whose last stage is used. Its best checkpoint is used. Given several times, these "
    "captioners caption together, as an ensemble.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_IMAGES = image_flags.define_images()
_DETECTIONS = define_texts(
    "detections",
    None,
    "FILE[+FILE][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT][,scores=percent]: detections in these images, "
    "as for r2m-build-images. Required for R2M, and for captioners of records built with "
    "--regions. Use the same detectors as in training: thresholds, weights and formats default to "
    "those of the training.",
    group=INPUT,
    value="PATH[,...]",
)
_WEIGHTS = image_flags.define_weights()
_CAPTIONS = define_whole(
    "captions",
    1,
    "Captions to find per image, best first; at most --beam_size with beam search.",
    least=1,
    most=MOST_BEAMS,
    group=DECODING,
)
_OUTPUT = define_text(
    "output", None, "Folder to write to.", required=True, group=OUTPUT, value="FOLDER"
)
_GALLERY = define_whole(
    "gallery",
    5_000,
    "Maximum number of images in the gallery, evenly spaced. The printed table shows "
    f"{_PRINTED} at most.",
    least=1,
    group=OUTPUT,
)
_SINGLE_FILE = define_single_file()
_ATTENTION = define_attention()
_SIDECAR = define_switch(
    "sidecar",
    False,
    "Also write the best caption of each image to a text file: OUTPUT/sidecar/NAME.txt for "
    "NAME.jpg.",
    group=OUTPUT,
)
_OVERWRITE = define_switch(
    "overwrite",
    False,
    "Start again, even if the folder contains unfinished captions of other images or settings. "
    "Without it, the same command resumes after the last caption that was written.",
    group=OUTPUT,
)
image_flags.define_folder_flags()
define_consensus_flags()
define_decoding_flags()
define_ensemble_flag()
_PRECISION = define_precision_flag()


def main(argv: Sequence[str]) -> None:
    """Captions the images, prints the table and the location of the files."""
    from r2m.engine.distribution.cores import configure_threads, cores
    from r2m.inference.caption_files import caption_files

    configure_threads(cores())
    found = caption_files(
        _RUN.value,
        [Path(name) for name in [*(_IMAGES.value or ()), *argv[1:]]],
        Path(_OUTPUT.value),
        recursive=image_flags.recursive(),
        detections=_DETECTIONS.value or (),
        weights=_WEIGHTS.value,
        decoding=decoding_overrides(),
        consensus=consensus_options(),
        ensemble_weights=ensemble_weights(),
        precision=_PRECISION.value,
        captions=_CAPTIONS.value,
        gallery=_GALLERY.value,
        single_file=_SINGLE_FILE.value,
        attention=_ATTENTION.value,
        sidecar=_SIDECAR.value,
        overwrite=_OVERWRITE.value,
    )
    step = -(-len(found.rows) // _PRINTED)
    printed = found.rows[::step]
    _print_table(printed)
    if len(printed) < found.images:
        print(f"... {len(printed)} of {found.images} images; all are in captions.jsonl")
    captioned = found.images - found.unread.total()
    print(describe_use("captioned", captioned, found.unread + found.passed_over))
    print(f"captions: {_OUTPUT.value}/captions.jsonl, captions.json and captions.csv")
    if _SIDECAR.value:
        print(f"text files: {_OUTPUT.value}/sidecar")
    print(f"gallery: {_OUTPUT.value}/index.html")


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    width = min(max(len(row["image_id"]) for row in rows), _WIDEST)
    for row in rows:
        concepts = ", ".join(concept["word"] for concept in row.get("concepts", ()))
        shown = f"  [{concepts}]" if concepts else ""
        note = f"({row['note']})" if "note" in row and not row["caption"] else ""
        print(terminal_text(f"{row['image_id']:<{width}}  {row['caption']}{shown}{note}"))
        for other in row.get("captions", ())[1:]:
            print(terminal_text(f"{'':<{width}}  {other['caption']}"))


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="[IMAGE ...]")


if __name__ == "__main__":
    console()
